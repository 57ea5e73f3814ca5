// A signal over some steps, which is drawn with the pointer, or by the keys of a slider for the step that is chosen.

import { cleared, colour, whenLooksChange } from "./colours.js";

const STEPS = 64;
const FAR = 10; // so many small moves

export class Signal {
    #canvas;
    #words;
    #values = new Array(STEPS).fill(0);
    #chosen = 0;
    #played = null;
    #last = null; // where the pointer was, while it draws
    #least = -1;
    #most = 1;
    #step = 0.01;
    length = STEPS;

    constructor(canvas, words) {
        this.#canvas = canvas;
        this.#words = words;
        canvas.addEventListener("pointerdown", (event) => {
            canvas.setPointerCapture(event.pointerId);
            this.#last = this.#place(event);
            this.#draw(event);
        });
        canvas.addEventListener("pointermove", (event) => this.#last && this.#draw(event));
        canvas.addEventListener("pointerup", () => (this.#last = null));
        canvas.addEventListener("pointercancel", () => (this.#last = null));
        canvas.addEventListener("keydown", (event) => this.#key(event));
        whenLooksChange(() => this.#paint());
    }

    at(place) {
        return this.#values[place];
    }

    // Shows which step is played; null for none.
    playing(place) {
        this.#played = place;
        this.#paint();
    }

    clear() {
        this.#values.fill(Math.max(this.#least, 0));
        this.#chosen = 0;
        this.#paint();
    }

    reach(least, most, step) {
        [this.#least, this.#most, this.#step] = [least, most, step];
        this.#canvas.setAttribute("aria-valuemin", least);
        this.#canvas.setAttribute("aria-valuemax", most);
        this.#values = this.#values.map((own) => this.#rounded(own));
        this.#paint();
    }

    #rounded(value) {
        const steps = Math.round((Math.min(Math.max(value, this.#least), this.#most) - this.#least) / this.#step);
        return Number((this.#least + steps * this.#step).toPrecision(6));
    }

    #place({ offsetX, offsetY }) {
        const { clientWidth, clientHeight } = this.#canvas;
        const step = Math.min(Math.max(Math.floor((STEPS * offsetX) / clientWidth), 0), STEPS - 1);
        return { step, value: this.#rounded(this.#most - (offsetY / clientHeight) * (this.#most - this.#least)) };
    }

    // Draws a line from where the pointer was: it jumps over steps when it is fast.
    #draw(event) {
        const [from, to] = [this.#last, this.#place(event)];
        const way = to.step - from.step;
        for (let done = 0; done <= Math.abs(way); done++) {
            const share = way ? done / Math.abs(way) : 1;
            this.#values[from.step + Math.sign(way) * done] = this.#rounded(
                from.value + share * (to.value - from.value),
            );
        }
        this.#last = to;
        this.#chosen = to.step;
        this.#paint();
    }

    #key(event) {
        const { key } = event;
        const aside = { ArrowLeft: -1, ArrowRight: 1, Home: -STEPS, End: STEPS }[key];
        const up = { ArrowUp: 1, ArrowDown: -1, PageUp: FAR, PageDown: -FAR }[key];
        if (aside) {
            this.#chosen = Math.min(Math.max(this.#chosen + aside, 0), STEPS - 1);
        } else if (up) {
            this.#values[this.#chosen] = this.#rounded(this.#values[this.#chosen] + up * this.#step);
        } else {
            return;
        }
        event.preventDefault();
        this.#paint();
    }

    #paint() {
        const { context, width, height } = cleared(this.#canvas);
        const x = (step) => ((step + 0.5) * width) / STEPS;
        const y = (value) => 4 + ((this.#most - value) / (this.#most - this.#least)) * (height - 8);
        const zero = y(Math.max(this.#least, 0));
        context.fillStyle = colour("mark");
        context.fillRect((this.#chosen * width) / STEPS, 0, width / STEPS, height);
        context.fillStyle = colour("line");
        context.fillRect(0, zero, width, 1);
        context.lineWidth = 2;
        context.strokeStyle = colour("accent");
        context.beginPath();
        this.#values.forEach((own, step) => context.lineTo(x(step), y(own)));
        context.stroke();
        if (this.#played !== null) {
            context.fillStyle = colour("warm");
            context.fillRect(x(this.#played) - 1, 0, 2, height);
        }
        const words = `step ${this.#chosen + 1}: ${this.#values[this.#chosen]}`;
        this.#words.textContent = words;
        this.#canvas.setAttribute("aria-valuenow", this.#values[this.#chosen]);
        this.#canvas.setAttribute("aria-valuetext", words);
    }
}
