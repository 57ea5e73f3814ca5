"""Translate: dates as people write them, in English or French, into ISO 8601.

python examples/translate.py
"""

import re
from datetime import date

import numpy as np

from gru_native import losses, nn, optim
from gru_native.train import Batches, Trainer

ENGLISH = " January February March April May June July August September October November December"
FRENCH = " janvier février mars avril mai juin juillet août septembre octobre novembre décembre"
STYLES = "{english} {d}, {y}", "{n}/{d}/{y}", "{d} {english} {y}", "le {d} {french} {y}", "{d}.{n}.{y}"
SYMBOLS = "\0-0123456789"  # of a translation; the first one ends it


def as_people_write(day):
    """Return a date in one of the styles."""
    names = {"english": ENGLISH.split(" ")[day.month], "french": FRENCH.split(" ")[day.month]}
    return rng.choice(STYLES).format(d=day.day, n=day.month, y=day.year, **names)


rng = np.random.default_rng(0)
days = [date.fromordinal(int(number)) for number in rng.integers(693_596, 766_645, 6000)]  # from 1900 to 2099
written = [as_people_write(day) for day in days]
lengths = np.array([len(text) for text in written])
source = np.array([[ord(character) for character in text.ljust(lengths.max())] for text in written])
target = np.array([[SYMBOLS.index(symbol) for symbol in f"{day}\0"] for day in days])

encoder = nn.Sequential(nn.Embedding(256, 32, seed=0), nn.GRU(32, 64, bidirectional=True, batch_first=True, seed=1))
model = nn.Seq2Seq(encoder, target_size=len(SYMBOLS), embedding_dim=16, hidden_size=128, seed=2)
trainer = Trainer(model, losses.CrossEntropyLoss(), optim.Adam(model, lr=3e-3), max_norm=1.0)
pairs = Batches((source[500:], target[500:]), target[500:], 64, lengths=lengths[500:], shuffle=True)
trainer.fit(pairs, epochs=6)
found = ["".join(SYMBOLS[label] for label in row) for row in model.greedy(source[:500], lengths[:500], steps=11)]
for text, own in zip(written[:5], found, strict=False):
    print(text, "is", own)
print(f"accuracy {np.mean(np.array(found) == np.array(days[:500], str)):.3f}")
numbers = [re.findall(r"\d+", text) for text in written[:500]]
guessed = [f"{own[-1]}-{own[-2]:0>2}-{own[0]:0>2}" for own in numbers]
baseline = np.mean(np.array(guessed) == np.array(days[:500], str))
print(f"the last numbers as month and year, the first one as day: {baseline:.3f}")
