"""Classify sequences: which of nine men says two vowels, from 12 coefficients over 7 to 29 steps.

python examples/classify.py
"""

import numpy as np
from public_data import vowels
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gru_native import losses, nn, optim
from gru_native.train import Sequences, Trainer

x, y = vowels("TRAIN")  # 270 sequences (T, 12), and who says each
x_test, y_test = vowels("TEST")
scaler = StandardScaler().fit(np.concatenate(x))
x, x_test = [scaler.transform(each) for each in x], [scaler.transform(each) for each in x_test]

model = nn.Sequential(
    nn.GRU(12, 64, bidirectional=True, recurrent_dropout=0.2, seed=0),
    nn.LastPooling(bidirectional=True),
    nn.Dropout(0.5),
    nn.Linear(128, 9, seed=1),
)
trainer = Trainer(model, losses.CrossEntropyLoss(), optim.AdamW(model, lr=3e-3), max_norm=1.0)
trainer.fit(Sequences(x, y, batch_size=16, shuffle=True), epochs=60)
found = model.predict(x_test).argmax(axis=1)  # of logits (370, 9)
print(f"accuracy {np.mean(found == y_test):.3f}")

means, means_test = ([each.mean(axis=0) for each in part] for part in (x, x_test))
baseline = LogisticRegression(max_iter=1000).fit(means, y).score(means_test, y_test)
print(f"a logistic regression on the means over time: {baseline:.3f}")
