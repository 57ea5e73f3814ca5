// A button that begins something, and then stops it.

const PACE = 40; // milliseconds between two steps, which eyes can follow

export class Toggle {
    #button;
    #word;
    #work;
    #begun = false; // until the work is over
    running = false; // until it is to be over

    // `work(toggle)` is to end soon after `toggle.running` is false; `failed(error)` hears why it ended by itself.
    constructor(button, work, failed) {
        this.#button = button;
        this.#word = button.textContent;
        this.#work = work;
        button.addEventListener("click", () => (this.#begun ? this.stop() : this.#start(failed)));
    }

    stop() {
        this.running = false;
    }

    // Waits until it is time for the next step.
    pause() {
        return new Promise((resolve) => setTimeout(resolve, PACE));
    }

    async #start(failed) {
        this.#begun = this.running = true;
        this.#button.textContent = "Stop";
        try {
            await this.#work(this);
        } catch (error) {
            if (this.running) {
                failed(error);
            }
        }
        this.#begun = this.running = false;
        this.#button.textContent = this.#word;
    }
}
