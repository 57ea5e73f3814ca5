// What is inside the network: heat maps of each recurrent layer, drawn at most once for each picture of the screen.

import { whenLooksChange } from "./colours.js";
import { Layer } from "./heatmap.js";

export class Inside {
    #place;
    #layers = [];
    #asked = false;

    constructor(place) {
        this.#place = place;
        whenLooksChange(() => this.#draw());
    }

    // Adds a step: what the server says of each layer, and a word for the input.
    add({ step, layers }, label) {
        if (!layers) {
            return; // the reply to a step whose connection broke
        }
        if (!this.#layers.length) {
            this.#layers = layers.map((shown) => new Layer(shown, this.#place));
        }
        this.#layers.forEach((layer, place) => layer.add(step, label, layers[place]));
        if (!this.#asked) {
            this.#asked = true;
            requestAnimationFrame(() => this.#draw());
        }
    }

    clear() {
        this.#layers = [];
        this.#place.replaceChildren();
    }

    #draw() {
        this.#asked = false;
        this.#layers.forEach((layer) => layer.draw());
    }
}
