"""Write down what is heard: which keys were dialled, when nothing says where one begins.

Each key is two tones at once, as telephones have them, in noise.

    python examples/transcribe.py
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gru_native import functional as F
from gru_native import losses, nn, optim
from gru_native.train import Sequences, Trainer, ctc_metrics, label_error

KEYS = "123456789*0#"
LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz, of the rows and columns of keys
RATE, WINDOW, HOP = 8000, 256, 128  # samples
NOISE = 2.0


def dialled(rng: np.random.Generator, keys: np.ndarray) -> np.ndarray:
    """Return the sound of keys, each for 50 to 150 ms with a pause of 20 to 120 behind it."""
    pieces = []
    for key in keys:
        time = np.arange(rng.integers(400, 1200)) / RATE
        tones = np.sin(2 * np.pi * LOW[key // 3] * time) + np.sin(2 * np.pi * HIGH[key % 3] * time)
        pieces += [tones, np.zeros(rng.integers(160, 960))]
    sound = np.concatenate(pieces)
    return sound + rng.normal(0, NOISE, len(sound))


def spectrum(sound: np.ndarray) -> np.ndarray:
    """Return the logarithm of the power at 500 to 1,750 Hz over time, (T, 40), scaled to mean 0 and variance 1."""
    windows = sliding_window_view(sound, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.log(np.abs(np.fft.rfft(windows)[:, 16:56]) ** 2 + 1e-3)
    return ((power - power.mean()) / power.std()).astype(np.float32)


def loudest(sound: np.ndarray, least: float) -> np.ndarray:
    """Return the keys whose tones are the loudest in each window, as far as they are louder than that."""
    place = [round(hertz * WINDOW / RATE) - 16 for hertz in (*LOW, *HIGH)]
    power = sound[:, place]
    way = np.where(power.max(axis=1) > least, power[:, :4].argmax(axis=1) * 3 + power[:, 4:].argmax(axis=1) + 1, 0)
    return way[(way > 0) & (way != np.r_[0, way[:-1]])]


def main() -> None:
    """Train on 400 calls, and test on 100 others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15, metavar="N")
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    calls = [rng.integers(0, 12, rng.integers(3, 9)) for _ in range(500)]
    sounds = [spectrum(dialled(rng, keys)) for keys in calls]
    labels = [keys + 1 for keys in calls]  # 0 is the blank between labels

    model = nn.Sequential(nn.GRU(40, 48, bidirectional=True, seed=0), nn.Linear(96, 13, seed=1))
    trainer = Trainer(model, losses.CTCLoss(), optim.Adam(model, lr=1e-2), max_norm=1.0, metrics=ctc_metrics())
    trainer.fit(Sequences(sounds[:400], labels[:400], 20, shuffle=True), epochs=arguments.epochs)
    found, _ = F.ctc_beam_search(model.predict(sounds[400:]))

    for keys, own in zip(calls[400:403], found, strict=False):
        print("".join(KEYS[key] for key in keys), "heard as", "".join(KEYS[label - 1] for label in own))
    rules = [[loudest(sound, least) for sound in sounds] for least in np.arange(0, 4, 0.25)]
    best = min(rules, key=lambda own: label_error(own[:400], labels[:400]))
    print(f"label error {label_error(found, labels[400:]):.3f}")
    print(f"the loudest tones of each window: {label_error(best[400:], labels[400:]):.3f}")


if __name__ == "__main__":
    main()
