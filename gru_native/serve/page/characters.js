// A model of characters: it goes on from a prompt, character by character.

import { drawBars, named, probabilities, sample } from "./probabilities.js";
import { Toggle } from "./toggle.js";

const MOST = 2000; // characters that it writes at a time

const part = (id) => document.getElementById(id);

export class Characters {
    #model;
    #host;
    #places; // of the characters in the vocabulary
    #logits = null; // of the next character
    #toggle;

    // `host` has `take(x, label)`, `say(words)`, and `busy(words)`, which returns what is called at the end.
    constructor(model, host) {
        this.#model = model;
        this.#host = host;
        this.#places = new Map(model.vocabulary.map((own, place) => [own, place]));
        for (const id of ["characters", "text", "next"]) {
            part(id).hidden = false;
        }
        part("temperature").addEventListener("input", () => this.#heat());
        this.#toggle = new Toggle(
            part("write"),
            (toggle) => this.#write(toggle),
            (error) => this.#note(error.message),
        );
        part("prompt").addEventListener("keydown", (event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
                part("write").click();
            }
        });
    }

    clear() {
        this.#toggle.stop();
        this.#logits = null;
        part("text").replaceChildren();
        part("bars").replaceChildren();
        this.#note("");
    }

    get #temperature() {
        return part("temperature").valueAsNumber;
    }

    #heat() {
        part("temperature-value").value = this.#temperature;
        if (this.#logits) {
            drawBars(part("bars"), probabilities(this.#logits, this.#temperature), this.#model.vocabulary);
        }
    }

    #note(words) {
        part("prompt-note").textContent = words;
        part("prompt").setAttribute("aria-invalid", words !== "");
    }

    async #write(toggle) {
        const prompt = [...part("prompt").value];
        const unknown = prompt.filter((own) => !this.#places.has(own));
        if (unknown.length) {
            throw new Error(`The model does not know ${[...new Set(unknown)].map((own) => `“${own}”`).join(", ")}.`);
        }
        if (!prompt.length && !this.#logits) {
            throw new Error("Write at least one character, which the model goes on from.");
        }
        this.#note("");
        const done = this.#host.busy("Writing");
        const written = [];
        try {
            part("prompt").value = "";
            while (prompt.length && toggle.running) {
                await this.#take(prompt.shift(), "given");
            }
            while (written.length < MOST && toggle.running) {
                await toggle.pause();
                const place = sample(probabilities(this.#logits, this.#temperature));
                written.push(this.#model.vocabulary[place]);
                await this.#take(written.at(-1), "written");
            }
        } finally {
            part("prompt").value = prompt.join("");
            done();
            this.#host.say(`Written: ${written.join("")}`);
        }
    }

    async #take(character, kind) {
        const { y } = await this.#host.take(this.#places.get(character), `“${named(character)}”`);
        this.#logits = y;
        this.#append(character, kind);
        this.#heat();
    }

    #append(character, kind) {
        const text = part("text");
        if (text.lastElementChild?.className !== kind) {
            const run = document.createElement("span");
            run.className = kind;
            run.append("");
            text.append(run);
        }
        text.lastElementChild.firstChild.appendData(character);
        text.scrollTop = text.scrollHeight;
    }
}
