// A live session: its steps, one after the other, over as many connections as that takes.

const AGAIN = new Set([1001, 1005, 1006, 1011, 1012, 4503]); // the server may take the next connection
const IDLE = 4408;
const LONGEST_WAIT = 15; // seconds between two attempts

// A subprotocol cannot have all characters that a token can.
const encoded = (token) => encodeURIComponent(token).replace(/[()]/g, (own) => `%${own.charCodeAt(0).toString(16)}`);

export class Session {
    #show;
    #token;
    #tell;
    #name = null;
    #socket = null;
    #greeted = false; // whether this connection can take steps
    #timer = null;
    #attempts = 0;
    #step = 0; // how many were sent
    #kept = []; // [step, input] of those whose state is not stored: after a crash they are sent again
    #ended = ""; // why the server takes no more steps, until somebody connects again
    #waiting = null; // what the last step's reply goes to
    #turn = Promise.resolve();

    // `show` is what each step shows. `tell(kind, words, code)` hears how the connection is: kind is "good", "busy",
    // "idle" or "bad".
    constructor(show, token, tell) {
        this.#show = show;
        this.#tell = tell;
        this.connect(token);
    }

    // Takes a step, and returns its reply: {step, y, layers}. A reply that was lost on the way comes without layers.
    take(x) {
        const taken = this.#turn.then(() => this.#send(x));
        this.#turn = taken.catch(() => {});
        return taken;
    }

    connect(token = this.#token) {
        this.#token = token;
        clearTimeout(this.#timer);
        const url = new URL("v1/sessions", location.href);
        url.protocol = url.protocol.replace("http", "ws");
        url.pathname += this.#name ? `/${this.#name}` : "";
        url.search = `frames=json&show=${this.#show}`;
        const socket = new WebSocket(url, ["gru-native", ...(token ? [`bearer.${encoded(token)}`] : [])]);
        socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
        socket.onclose = ({ code, reason }) => this.#closed(code, reason);
        this.#socket = socket;
        this.#greeted = false;
        this.#ended = "";
    }

    // Ends the session for good.
    end() {
        clearTimeout(this.#timer);
        this.#socket.onclose = null;
        this.#socket.close();
        this.#fail("the session is over");
        if (this.#name) {
            const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
            fetch(`v1/sessions/${this.#name}`, { method: "DELETE", headers, keepalive: true }).catch(() => {});
        }
    }

    #send(x) {
        if (this.#ended) {
            throw new Error(this.#ended);
        }
        this.#step += 1;
        this.#kept.push([this.#step, x]);
        if (this.#greeted && this.#socket.readyState === WebSocket.OPEN) {
            this.#socket.send(JSON.stringify({ x }));
        } else if (this.#socket.readyState === WebSocket.CLOSED) {
            this.connect();
        }
        return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
    }

    #hear(message) {
        if (message.session) {
            this.#goOn(message);
        } else {
            this.#attempts = 0;
        }
        this.#kept = this.#kept.filter(([step]) => step > message.durable);
        if (message.step === this.#step && this.#waiting) {
            this.#waiting.resolve(message);
            this.#waiting = null;
        }
    }

    #goOn(greeting) {
        const first = this.#name === null;
        this.#name = greeting.session;
        this.#greeted = true;
        this.#tell("good", first ? "Connected" : `Connected again: the session goes on at step ${greeting.step}`);
        if (!this.#waiting) {
            this.#step = Math.max(this.#step, greeting.step); // another connection may have gone on
        }
        for (const [step, x] of this.#kept) {
            if (step > greeting.step) {
                this.#socket.send(JSON.stringify({ x }));
            }
        }
    }

    #closed(code, reason) {
        if (AGAIN.has(code)) {
            const wait = Math.min(2 ** this.#attempts++ / 2, LONGEST_WAIT);
            const why = reason ? `The server says: ${reason}` : "No connection to the server";
            this.#tell("busy", `${why}. Trying again in ${wait} s …`, code);
            this.#timer = setTimeout(() => this.connect(), 1000 * wait);
        } else if (code === IDLE && this.#waiting) {
            this.connect();
        } else if (code === IDLE) {
            this.#tell("idle", "Resting, because no step came for long. The next step goes on", code);
        } else {
            this.#ended = reason || `code ${code}`;
            this.#tell("bad", `Ended: ${this.#ended}`, code);
            this.#fail(this.#ended);
        }
    }

    #fail(reason) {
        if (this.#waiting) {
            this.#kept.pop(); // which the server did not take
            this.#step -= 1;
            this.#waiting.reject(new Error(reason));
            this.#waiting = null;
        }
    }
}
