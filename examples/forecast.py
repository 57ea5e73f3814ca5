"""Forecast a series: Beijing's fine dust (PM2.5) of the next 24 hours, from dust and weather of the last 48.

The years 2010 to 2012 train the network, 2013 says when it was best, 2014 tests it.

    python examples/forecast.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from public_data import fetch

from gru_native import losses, nn, optim
from gru_native.train import Batches, Trainer

PAST, AHEAD, YEAR = 48, 24, 365 * 24
COLUMNS = (5, 6, 7, 8, 10, 11, 12)  # dust, dew point, temperature, pressure, wind, snow, rain


def windows(hours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each stretch of the past (N, 48, 7), and how much the dust then differs from its last value (N, 24)."""
    stretches = np.lib.stride_tricks.sliding_window_view(hours, PAST + AHEAD, axis=0).swapaxes(1, 2)
    return stretches[:, :PAST], stretches[:, PAST:, 0] - stretches[:, PAST - 1, :1]


def main() -> None:
    """Train, and compare with the last value, repeated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the data lies, instead of a download")
    parser.add_argument("--epochs", type=int, default=6, metavar="N")
    arguments = parser.parse_args()

    path = fetch("timeseries/pollution.csv", arguments.data)
    hours = np.genfromtxt(path, delimiter=",", skip_header=25, usecols=COLUMNS)  # the first day has no dust
    measured = np.where(np.isfinite(hours[:, 0]), np.arange(len(hours)), 0)
    hours[:, 0] = hours[np.maximum.accumulate(measured), 0]  # a gap has the value before it
    hours[:, 4:] = np.log1p(hours[:, 4:])
    mean, deviation = hours[: -2 * YEAR].mean(axis=0), hours[: -2 * YEAR].std(axis=0)
    scaled = ((hours - mean) / deviation).astype(np.float32)
    training, validation, test = map(windows, np.split(scaled, [-2 * YEAR, -YEAR]))

    model = nn.Sequential(
        nn.GRU(len(COLUMNS), 64, batch_first=True, recurrent_dropout=0.5, seed=0),
        nn.LastPooling(batch_first=True),
        nn.Linear(64, AHEAD, seed=1),
    )
    trainer = Trainer(model, losses.MSELoss(), optim.Adam(model, lr=2e-3), max_norm=1.0)
    trainer.fit(Batches(*training, 64, shuffle=True), epochs=arguments.epochs, validation=Batches(*validation, 256))
    errors = model.predict(test[0]) - test[1]
    print(f"root mean squared error {deviation[0] * np.sqrt(np.mean(errors**2)):.1f} µg/m³")
    print(f"the last value, repeated: {deviation[0] * np.sqrt(np.mean(test[1] ** 2)):.1f} µg/m³")


if __name__ == "__main__":
    main()
