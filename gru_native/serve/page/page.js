// The page: asks what the model is, for a token if one is wanted, and connects a session with what the model takes.

import { Characters } from "./characters.js";
import { Inside } from "./inside.js";
import { Numbers } from "./numbers.js";
import { Session } from "./session.js";

const part = (id) => document.getElementById(id);
const main = document.querySelector("main");

let token = "";
let session = null;
let panel = null;
let digest = ""; // of the model that is shown
let show = ""; // the most that its steps can show
let ready = "Connected"; // what is said when nothing is done
const inside = new Inside(part("layers"));

function state(kind, words) {
    part("state").dataset.kind = kind;
    part("state").textContent = words;
    part("again").hidden = kind !== "bad" || !session;
}

function heard(kind, words, code) {
    if (code === 4401) {
        askForToken("The server does not know this token any more.");
        return;
    }
    if (kind === "good") {
        ready = words;
    }
    state(kind, words);
}

const host = {
    async take(x, label) {
        const reply = await session.take(x);
        part("steps").textContent = `step ${reply.step}`;
        inside.add(reply, label);
        return reply;
    },
    busy(words) {
        const own = `${words} …`;
        state("busy", own);
        return () => part("state").textContent === own && state("good", ready);
    },
    say(words) {
        part("said").textContent = words;
    },
};

function connect() {
    if (session) {
        session.connect(token);
    } else {
        session = new Session(show, token, heard);
    }
}

function begin() {
    panel.clear();
    inside.clear();
    part("steps").textContent = "";
    session.end();
    session = null;
    start();
}

function askForToken(words) {
    state("idle", words);
    main.hidden = true;
    part("anew").hidden = true;
    part("ask").hidden = false;
    part("token").focus();
}

async function start() {
    state("busy", "Connecting …");
    let model;
    try {
        const reply = await fetch("v1/model", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
        if (reply.status === 401) {
            askForToken(token ? "The server does not know this token." : "The server wants a token.");
            return;
        }
        model = await reply.json();
        if (!reply.ok) {
            throw new Error(model.error);
        }
    } catch (error) {
        state("bad", `No answer: ${error.message}. Load the page again.`);
        return;
    }
    if (digest && digest !== model.digest) {
        location.reload(); // the server has another model now
        return;
    }
    digest = model.digest;
    part("ask").hidden = true;
    part("model").textContent = described(model);
    if (!model.sessions) {
        state("bad", `This model takes no steps: ${model.why}`);
        return;
    }
    show = model.show.at(-1);
    part("inside").hidden = show !== "gates";
    main.hidden = false;
    part("anew").hidden = false;
    panel ??= model.kind === "characters" ? new Characters(model, host) : new Numbers(model, host);
    connect();
}

function described({ layers, vocabulary, sessions, indices, input_size, output_size, dtype, digest }) {
    const recurrent = layers
        .filter((own) => own.hidden_size)
        .map((own) => `${own.type} ${[own.hidden_size].flat().join(", ")}`);
    const sizes = `${indices ? `indices ${indices}` : `inputs ${input_size}`}, outputs ${output_size}`;
    const ends = vocabulary ? `${vocabulary.length} characters` : sessions && sizes;
    return [recurrent.join(" and "), ends, dtype, `weights ${digest.slice(0, 8)}`].filter(Boolean).join(" · ");
}

part("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    token = part("token").value.trim();
    part("token").value = "";
    start();
});
part("again").addEventListener("click", connect);
part("anew").addEventListener("click", begin);
addEventListener("pagehide", () => session?.end());
start();
