"""Classify sequences: which of nine men says two vowels, from 12 coefficients over 7 to 29 steps.

python examples/classify.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from public_data import fetch, read_ts
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gru_native import losses, nn, optim
from gru_native.train import Sequences, Trainer


def main() -> None:
    """Train on 270 utterances, and test on 370."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the data lies, instead of a download")
    parser.add_argument("--epochs", type=int, default=60, metavar="N")
    arguments = parser.parse_args()

    x, y = read_ts(fetch("japanese_vowels/JapaneseVowels_TRAIN.ts", arguments.data))
    x_test, y_test = read_ts(fetch("japanese_vowels/JapaneseVowels_TEST.ts", arguments.data))
    scaler = StandardScaler().fit(np.concatenate(x))
    x, x_test = [scaler.transform(each) for each in x], [scaler.transform(each) for each in x_test]

    model = nn.Sequential(
        nn.GRU(12, 64, bidirectional=True, recurrent_dropout=0.2, seed=0),
        nn.LastPooling(bidirectional=True),
        nn.Dropout(0.5),
        nn.Linear(128, 9, seed=1),
    )
    trainer = Trainer(model, losses.CrossEntropyLoss(), optim.AdamW(model, lr=3e-3), max_norm=1.0)
    trainer.fit(Sequences(x, y, batch_size=16, shuffle=True), epochs=arguments.epochs)
    found = np.argmax(model.predict(x_test), axis=1)  # of logits (370, 9)

    means, means_test = ([each.mean(axis=0) for each in part] for part in (x, x_test))
    baseline = LogisticRegression(max_iter=1000).fit(means, y).score(means_test, y_test)
    print(f"accuracy {np.mean(found == y_test):.3f}")
    print(f"a logistic regression on the means over time: {baseline:.3f}")


if __name__ == "__main__":
    main()
