"""Forecast a series: Beijing's fine dust (PM2.5) of the next 24 hours, from dust and weather of the last 48.

python examples/forecast.py
"""

import numpy as np
from public_data import pollution

from gru_native import losses, nn, optim
from gru_native.train import Batches, Trainer

PAST, AHEAD, YEAR = 48, 24, 365 * 24


def windows(hours):
    """Return each stretch of the past (N, 48, 7), and how much the dust then differs from its last value (N, 24)."""
    stretches = np.lib.stride_tricks.sliding_window_view(hours, PAST + AHEAD, axis=0).swapaxes(1, 2)
    return stretches[:, :PAST], stretches[:, PAST:, 0] - stretches[:, PAST - 1, :1]


hours = pollution()  # (43800, 7), from 2010 to 2014; the first column is dust
mean, deviation = hours[: -2 * YEAR].mean(axis=0), hours[: -2 * YEAR].std(axis=0)
scaled = ((hours - mean) / deviation).astype("float32")
training, validation, test = map(windows, np.split(scaled, [-2 * YEAR, -YEAR]))

model = nn.Sequential(
    nn.GRU(7, 64, batch_first=True, recurrent_dropout=0.5, seed=0),
    nn.LastPooling(batch_first=True),
    nn.Linear(64, AHEAD, seed=1),
)
trainer = Trainer(model, losses.MSELoss(), optim.Adam(model, lr=2e-3), max_norm=1.0)
trainer.fit(Batches(*training, 64, shuffle=True), epochs=6, validation=Batches(*validation, 256))
errors = model.predict(test[0]) - test[1]
print(f"root mean squared error {deviation[0] * np.sqrt(np.mean(errors**2)):.1f} µg/m³")
print(f"the last value, repeated: {deviation[0] * np.sqrt(np.mean(test[1] ** 2)):.1f} µg/m³")
