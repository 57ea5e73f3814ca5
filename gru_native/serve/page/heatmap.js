// Heat maps of a layer: for each gate and state a map, with a row for each unit and a column for each step.

import { scale } from "./colours.js";

const STEPS = 64; // columns
const UNITS = 32; // rows, at most
const TITLES = {
    r: "reset gate r",
    z: "update gate z",
    n: "candidate n",
    i: "input gate i",
    f: "forget gate f",
    g: "candidate g",
    o: "output gate o",
    h: "state h",
    c: "cell c",
};
const GATES = "rzifo"; // from 0 to 1; all others have a sign

// Returns the units whose states vary most over some steps, slow ones first.
function mostActive(states) {
    const squares = (values) => values.reduce((sum, value) => sum + value ** 2, 0);
    const units = states[0].map((_, unit) => {
        const own = states.map((state) => state[unit]);
        const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
        const spread = squares(own.map((value) => value - mean));
        const changes = squares(own.slice(1).map((value, step) => value - own[step]));
        return { unit, spread, speed: spread ? changes / spread : 0 };
    });
    units.sort((a, b) => b.spread - a.spread || a.unit - b.unit);
    return units
        .slice(0, UNITS)
        .sort((a, b) => a.speed - b.speed || a.unit - b.unit)
        .map(({ unit }) => unit);
}

export class Layer {
    #readout = document.createElement("p");
    #maps; // {name, canvas, caption, cursor}
    #columns = []; // {step, label, values by name}, the newest last
    #units = [];
    #next = 1; // the step at which units are chosen anew: rarely, so that rows stay
    #chosen = null; // the unit and the step that were read out last

    constructor(shown, parent) {
        const names = [...Object.keys(shown.gates), ...Object.keys(shown.state)];
        const size = shown.state.h.length;
        const section = document.createElement("section");
        section.className = "layer";
        const title = document.createElement("h3");
        title.textContent = `Layer ${shown.name}: ${size} units${size > UNITS ? `, the ${UNITS} most active` : ""}`;
        const group = document.createElement("div");
        group.className = "maps";
        group.tabIndex = 0;
        group.setAttribute("role", "application");
        group.setAttribute("aria-label", `Maps of layer ${shown.name}`);
        group.setAttribute("aria-describedby", "inside-help");
        this.#readout.className = "readout";
        this.#readout.setAttribute("aria-live", "polite");
        this.#maps = names.map((name) => this.#map(name, Math.min(size, UNITS), group));
        section.append(title, group, this.#readout);
        parent.append(section);
        group.addEventListener("keydown", (event) => this.#key(event));
        group.addEventListener("focus", () => this.#choose(this.#place));
        group.addEventListener("blur", () => this.#forget());
    }

    #map(name, rows, group) {
        const figure = document.createElement("figure");
        const caption = document.createElement("figcaption");
        caption.textContent = TITLES[name];
        const frame = document.createElement("div");
        frame.className = "map";
        const canvas = document.createElement("canvas");
        canvas.width = STEPS;
        canvas.height = rows;
        const cursor = document.createElement("span");
        cursor.className = "cursor";
        cursor.hidden = true;
        cursor.style.width = `${100 / STEPS}%`;
        cursor.style.height = `${100 / rows}%`;
        frame.append(canvas, cursor);
        figure.append(caption, frame);
        group.append(figure);
        canvas.addEventListener("pointermove", (event) => this.#point(event));
        canvas.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && this.#forget());
        return { name, canvas, caption, cursor };
    }

    add(step, label, shown) {
        this.#columns.push({ step, label, values: { ...shown.gates, ...shown.state } });
        if (this.#columns.length > STEPS) {
            this.#columns.shift();
        }
        if (step >= this.#next) {
            this.#units = mostActive(this.#columns.map(({ values }) => values.h));
            this.#next = 2 * step;
        }
    }

    draw() {
        for (const { name, canvas, caption } of this.#maps) {
            const most = this.#reach(name);
            const gate = GATES.includes(name);
            const of = scale(gate ? "gates" : "states");
            const image = new ImageData(STEPS, canvas.height);
            this.#columns.forEach(({ values }, column) =>
                this.#units.forEach((unit, row) => {
                    const share = gate ? values[name][unit] : (values[name][unit] / most + 1) / 2;
                    image.data.set([...of(share), 255], 4 * (row * STEPS + column));
                }),
            );
            canvas.getContext("2d").putImageData(image, 0, 0);
            caption.textContent = TITLES[name] + (most > 1 ? `, −${most} to ${most}` : "");
        }
        if (this.#chosen && !(this.#units.includes(this.#chosen.unit) && this.#chosen.step >= this.#columns[0].step)) {
            this.#forget();
        }
        this.#mark();
    }

    // Returns how far the values of a map go, at least to 1, as a whole number.
    #reach(name) {
        const values = this.#columns.flatMap(({ values }) => this.#units.map((unit) => Math.abs(values[name][unit])));
        return Math.max(1, Math.ceil(Math.max(...values)));
    }

    #point({ offsetX, offsetY, target }) {
        const column = Math.floor((STEPS * offsetX) / target.clientWidth);
        const row = Math.floor((target.height * offsetY) / target.clientHeight);
        this.#choose({ row, column });
    }

    #key(event) {
        const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
        if (event.key in moves) {
            event.preventDefault();
            const [down, right] = moves[event.key];
            const { row, column } = this.#place;
            this.#choose({ row: row + down, column: column + right });
        }
    }

    // Where in the maps the chosen unit and step are: the newest step's first row when there are none.
    get #place() {
        const row = this.#units.indexOf(this.#chosen?.unit);
        const column = this.#columns.findIndex(({ step }) => step === this.#chosen?.step);
        return row < 0 || column < 0 ? { row: 0, column: this.#columns.length - 1 } : { row, column };
    }

    // Chooses the nearest place that there is, marks it in all maps, and says what is there.
    #choose(place) {
        const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
        const { step, label, values } = this.#columns[within(place.column, this.#columns.length)];
        const unit = this.#units[within(place.row, this.#units.length)];
        this.#chosen = { unit, step };
        this.#mark();
        const numbers = this.#maps.map(({ name }) => `${name} ${(values[name][unit] ?? NaN).toFixed(2)}`);
        this.#readout.textContent = `Step ${step}${label && ` ${label}`}, unit ${unit}: ${numbers.join(", ")}`;
    }

    #forget() {
        this.#chosen = null;
        this.#readout.textContent = "";
        this.#mark();
    }

    #mark() {
        const { row, column } = this.#place;
        for (const { cursor, canvas } of this.#maps) {
            cursor.hidden = !this.#chosen;
            cursor.style.left = `${(100 * column) / STEPS}%`;
            cursor.style.top = `${(100 * row) / canvas.height}%`;
        }
    }
}
