// A model of numbers: sliders, a signal that is drawn, or a table of steps when there are many inputs.

import { Chart } from "./chart.js";
import { Signal } from "./signal.js";
import { Toggle } from "./toggle.js";

const SLIDERS = 16; // more inputs than these come as a table

const part = (id) => document.getElementById(id);

export class Numbers {
    #model;
    #host;
    #inputs;
    #chart;
    #signal;
    #toggles = [];
    #sliders = [];
    #moving = false;
    #moved = false;

    // `host` has `take(x, label)`, `say(words)`, and `busy(words)`, which returns what is called at the end.
    constructor(model, host) {
        this.#model = model;
        this.#host = host;
        this.#inputs = model.indices ? 1 : model.input_size;
        this.#chart = new Chart(part("chart"), part("values"), model.indices ? 0 : 1); // outputs may be indices, too
        for (const id of ["numbers", "chart", "values"]) {
            part(id).hidden = false;
        }
        if (this.#inputs > SLIDERS) {
            this.#byTable();
        } else {
            this.#bySliders();
        }
    }

    clear() {
        this.#toggles.forEach((toggle) => toggle.stop());
        this.#chart.clear();
    }

    #toggle(id, work, failed) {
        this.#toggles.push(new Toggle(part(id), work, failed));
    }

    #bySliders() {
        const { indices } = this.#model;
        this.#sliders = Array.from({ length: this.#inputs }, (_, place) =>
            this.#slider(indices ? "index" : `x${place + 1}`),
        );
        part("signal-name").textContent = indices ? "the index" : "x1";
        part("reach-label").hidden = indices > 0;
        this.#signal = new Signal(part("signal"), part("signal-value"));
        this.#reach();
        part("reach").addEventListener("change", () => this.#reach());
        part("step").addEventListener("click", () => this.#move());
        part("clear").addEventListener("click", () => this.#signal.clear());
        const failed = (error) => this.#host.say(error.message);
        this.#toggle("play", (toggle) => this.#playSignal(toggle), failed);
    }

    #slider(name) {
        const label = document.createElement("label");
        const slider = document.createElement("input");
        const value = document.createElement("output");
        slider.type = "range";
        slider.value = 0;
        slider.id = `slider-${name}`;
        label.htmlFor = slider.id;
        label.append(name);
        slider.addEventListener("input", () => {
            value.value = slider.value;
            this.#move();
        });
        const row = document.createElement("div");
        row.className = "slider";
        row.append(label, slider, value);
        part("sliders").append(row);
        return { slider, value };
    }

    // Lets sliders and signal have all values that the model can take, or those up to what the user says.
    #reach() {
        const { indices } = this.#model;
        const most = indices ? indices - 1 : part("reach").valueAsNumber || 1;
        const least = indices ? 0 : -most;
        const step = indices ? 1 : most / 100;
        for (const { slider, value } of this.#sliders) {
            Object.assign(slider, { step: "any", min: least, max: most }); // a value between keeps what it is
            slider.step = step;
            value.value = slider.value;
        }
        this.#signal.reach(least, most, step);
    }

    get #values() {
        return this.#sliders.map(({ slider }) => slider.valueAsNumber);
    }

    // Takes a step with the values that the sliders have; while one is taken, only the newest values wait.
    async #move() {
        if (this.#toggles.some((toggle) => toggle.running)) {
            return; // it takes them
        }
        this.#moved = true;
        if (this.#moving) {
            return;
        }
        this.#moving = true;
        try {
            while (this.#moved) {
                this.#moved = false;
                const y = await this.#take(this.#values);
                this.#host.say(this.#chart.words(y));
            }
        } catch (error) {
            this.#host.say(error.message);
        } finally {
            this.#moving = false;
        }
    }

    async #take(values) {
        const { y } = await this.#host.take(this.#model.indices ? values[0] : values, "");
        this.#chart.add(y);
        return y;
    }

    async #playSignal(toggle) {
        const signal = this.#signal;
        await this.#play(toggle, signal.length, (place) => {
            signal.playing(place);
            return [signal.at(place), ...this.#values.slice(1)];
        });
    }

    async #play(toggle, count, values) {
        const done = this.#host.busy("Playing");
        try {
            for (let place = 0; place < count && toggle.running; place++) {
                const y = await this.#take(values(place));
                this.#host.say(place + 1 === count || !toggle.running ? this.#chart.words(y) : "");
                await toggle.pause();
            }
        } finally {
            done();
            this.#signal?.playing(null);
        }
    }

    #byTable() {
        part("by-sliders").hidden = true;
        part("by-table").hidden = false;
        part("table-size").textContent = this.#inputs;
        const note = (words) => {
            part("table-note").textContent = words;
            part("table").setAttribute("aria-invalid", words !== "");
        };
        const work = async (toggle) => {
            const rows = this.#rows(part("table").value);
            note("");
            await this.#play(toggle, rows.length, (place) => rows[place]);
        };
        this.#toggle("play-table", work, (error) => note(error.message));
    }

    // Returns the numbers of a table, a row for each line that is not empty.
    #rows(text) {
        const rows = text.split("\n").flatMap((line, place) => {
            const words = line
                .trim()
                .split(/[\s,;]+/)
                .filter(Boolean);
            const wrong = words.find((word) => !Number.isFinite(Number(word)));
            if (wrong !== undefined) {
                throw new Error(`Line ${place + 1}: expected numbers, got “${wrong}”.`);
            }
            if (words.length && words.length !== this.#inputs) {
                throw new Error(`Line ${place + 1}: expected ${this.#inputs} numbers, got ${words.length}.`);
            }
            return words.length ? [words.map(Number)] : [];
        });
        if (!rows.length) {
            throw new Error("Paste at least one line.");
        }
        return rows;
    }
}
