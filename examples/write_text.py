"""Write text: a network learns Python's language reference character by character, and goes on with a sentence.

python examples/write_text.py
"""

import zlib
from itertools import islice
from pydoc_data.topics import topics

from gru_native import losses, optim, schedules
from gru_native.train import CharacterModel, Trainer, bits, vocabulary_of

# Some paragraphs stand in several topics.
text = "\n\n".join(dict.fromkeys(paragraph for topic in topics.values() for paragraph in topic.split("\n\n")))
training, test = text[: -len(text) // 10], text[-len(text) // 10 :]

model = CharacterModel.create(vocabulary_of(text), embedding_dim=32, hidden_size=(192,), dropout=0.1)
optimizer = optim.AdamW(model.network, lr=6e-3)
schedule = schedules.CosineAnnealingLR(optimizer, T_max=1200)
trainer = Trainer(model.network, losses.CrossEntropyLoss(), optimizer, schedule=schedule, max_norm=1.0)
trainer.fit(model.stream(training, batch_size=32, window=64), steps=1200)

prompt = "If a function is called"
print(prompt + "".join(islice(model.generate(prompt, temperature=0.6, seed=0), 300)))
found = bits(trainer.evaluate(model.stream(test, batch_size=8, window=256))["loss"])
whole, known = (len(zlib.compress(part.encode(), level=9)) for part in (text, training))
print(f"\n{found:.2f} bits for each character of the last tenth")
print(f"gzip, which has read the rest: {8 * (whole - known) / len(test):.2f}")
