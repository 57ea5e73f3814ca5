// Outputs over the steps: a line for each of a few, or bars of the newest step for many.

import { cleared, colour, whenLooksChange } from "./colours.js";

const STEPS = 64;
const LINES = 4;
const MARGIN = 20; // pixels above and below, for the numbers of the axis

export class Chart {
    #canvas;
    #legend;
    #first;
    #outputs = []; // of the last steps

    // `first` is the number of the first output.
    constructor(canvas, legend, first) {
        this.#canvas = canvas;
        this.#legend = legend;
        this.#first = first;
        whenLooksChange(() => this.#paint());
    }

    add(y) {
        this.#outputs.push(y);
        if (this.#outputs.length > STEPS) {
            this.#outputs.shift();
        }
        this.#paint();
    }

    clear() {
        this.#outputs = [];
        this.#paint();
    }

    // Says an output: all numbers of a few, the largest of many.
    words(y) {
        if (y.length <= LINES) {
            return y.map((own, place) => this.#named(own, place)).join(", ");
        }
        const largest = y.indexOf(Math.max(...y));
        return `the largest of ${y.length} outputs is y${largest + this.#first}, ${this.#shown(y[largest])}`;
    }

    #named(value, place) {
        return `y${place + this.#first} ${this.#shown(value)}`;
    }

    #shown(value) {
        return value === null ? "not finite" : Number(value.toPrecision(4)).toString();
    }

    #paint() {
        const { context, width, height } = cleared(this.#canvas);
        const newest = this.#outputs.at(-1);
        this.#legend.replaceChildren();
        if (!newest) {
            return;
        }
        const values = this.#outputs.flat();
        const [least, most] = [Math.min(0, ...values), Math.max(0, ...values)];
        const y = (value) => MARGIN + ((most - value) / (most - least || 1)) * (height - 2 * MARGIN);
        context.fillStyle = colour("line");
        context.fillRect(0, y(0), width, 1);
        context.fillStyle = colour("quiet");
        context.font = "12px system-ui, sans-serif";
        context.fillText(this.#shown(most), 4, 14);
        context.fillText(this.#shown(least), 4, height - 5);
        if (newest.length <= LINES) {
            this.#lines(context, width, y);
        } else {
            this.#bars(context, width, y);
        }
        this.#canvas.setAttribute("aria-label", `Outputs: ${this.words(newest)}`);
    }

    #lines(context, width, y) {
        this.#outputs.at(-1).forEach((own, place) => {
            context.strokeStyle = colour(`line-${place}`);
            context.lineWidth = 2;
            context.lineJoin = "round";
            context.beginPath();
            this.#outputs.forEach((output, step) => context.lineTo(((step + 0.5) * width) / STEPS, y(output[place])));
            context.lineTo(((this.#outputs.length - 0.4) * width) / STEPS, y(own)); // so that a single step is seen
            context.stroke();
            const word = document.createElement("span");
            word.className = `line-${place}`;
            word.textContent = this.#named(own, place);
            this.#legend.append(word);
        });
    }

    #bars(context, width, y) {
        const newest = this.#outputs.at(-1);
        const each = width / newest.length;
        context.fillStyle = colour("accent");
        newest.forEach((own, place) => {
            const [top, bottom] = [Math.min(y(own), y(0)), Math.max(y(own), y(0))];
            context.fillRect(place * each, top, Math.max(each - (each > 4 ? 2 : 0), 1), bottom - top);
        });
        this.#legend.textContent = this.words(newest);
    }
}
