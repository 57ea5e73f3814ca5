// The next character: how likely each is, which one is taken, and bars of the likeliest.

const BARS = 10;
const NAMES = { " ": "space", "\n": "new line", "\t": "tab", "\r": "return" };

export const named = (character) => NAMES[character] ?? character;

// Returns the probabilities of logits that are divided by a temperature; at 0 the likeliest one has all.
export function probabilities(logits, temperature) {
    if (!logits.every(Number.isFinite)) {
        throw new Error("the model's outputs are not finite numbers");
    }
    const most = Math.max(...logits);
    if (temperature === 0) {
        const likeliest = logits.indexOf(most);
        return logits.map((_, place) => Number(place === likeliest));
    }
    const weights = logits.map((own) => Math.exp((own - most) / temperature));
    const sum = weights.reduce((all, own) => all + own, 0);
    return weights.map((own) => own / sum);
}

// Returns the place that a random number chooses.
export function sample(shares) {
    let left = Math.random();
    const found = shares.findIndex((own) => (left -= own) < 0);
    return found < 0 ? shares.indexOf(Math.max(...shares)) : found;
}

export function drawBars(list, shares, vocabulary) {
    const order = shares.map((_, place) => place).sort((a, b) => shares[b] - shares[a]);
    list.replaceChildren(
        ...order.slice(0, BARS).map((place) => {
            const item = document.createElement("li");
            const [name, bar, percent] = ["name", "bar", "percent"].map((kind) => {
                const part = document.createElement("span");
                part.className = kind;
                return part;
            });
            name.textContent = named(vocabulary[place]);
            bar.style.setProperty("--share", shares[place]);
            percent.textContent = `${(100 * shares[place]).toFixed(1)} %`;
            item.append(name, bar, percent);
            return item;
        }),
    );
}
