// The colours of numbers, which the style sheet has by name, for light and for dark: legends are drawn from the same.

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

export function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Returns a function from a share, 0 to 1, to red, green and blue: between three colours, such as --gates-0, -1 and -2.
export function scale(name) {
    const stops = [0, 1, 2].map((place) => channels(colour(`${name}-${place}`)));
    return (share) => {
        const at = 2 * Math.min(Math.max(share, 0), 1);
        const [low, high] = at < 1 ? stops.slice(0, 2) : stops.slice(1);
        return low.map((own, channel) => own + (at - Math.floor(Math.min(at, 1))) * (high[channel] - own));
    };
}

// Calls a function whenever colours are others, or places have other sizes.
export function whenLooksChange(draw) {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    addEventListener("resize", draw);
}

// Returns the context of a canvas, cleared, in units of CSS pixels.
export function cleared(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = devicePixelRatio;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return { context, width, height };
}
