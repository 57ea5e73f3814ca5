"""The page of ``gru-native serve``, in a Chromium without a window: clicks, keys, pixels, and what it asks for."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from cases import Array
from serving import Server

import gru_native as gn
from gru_native import nn
from gru_native.train import CharacterModel

webdriver = pytest.importorskip("selenium.webdriver")
imread = pytest.importorskip("matplotlib.image").imread
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

WIDE, NARROW = (1280, 900), (380, 800)
VOCABULARY = "abcdefgh é\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def writer() -> CharacterModel:
    """A model whose likeliest characters differ from step to step."""
    model = CharacterModel.create(VOCABULARY, hidden_size=(40, 6), embedding_dim=8, seed=3)
    model.network.assign({name: 4 * own for name, own in model.network.parameters().items()})
    return model


@pytest.fixture(scope="module")
def written(folder: Path, writer: CharacterModel) -> Path:
    writer.save(folder / "text.safetensors")
    return folder / "text.safetensors"


@pytest.fixture(scope="module")
def characters(folder: Path, written: Path) -> Iterator[Server]:
    with Server(folder, written, "--store", "text.db") as own:
        yield own


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return nn.Sequential(nn.LSTM(3, 8, seed=0), nn.RNN(8, 5, seed=0), nn.Linear(5, 2, seed=0))


@pytest.fixture(scope="module")
def numbers(folder: Path, model: nn.Sequential) -> Iterator[Server]:
    gn.save(model, folder / "numbers.safetensors")
    with Server(folder, folder / "numbers.safetensors", "--store", "numbers.db") as own:
        yield own


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no chromium and chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-background-networking"):
        options.add_argument(f"--{option}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    own = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    own.get("about:blank")
    own.get_log("performance")  # of the page that a new window has
    yield own
    own.quit()


class Page:
    """A page in a browser, and what a user does there."""

    def __init__(self, driver: Any) -> None:
        self.driver, self.errors_are_expected = driver, False
        self.waiting = WebDriverWait(driver, 20, 0.05, [WebDriverException])  # of a page that is being loaded

    def open(self, server: Server, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
        self.server = server
        self.resize(size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(server.url)

    def resize(self, size: tuple[int, int]) -> None:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def part(self, name: str) -> Any:
        return self.driver.find_element(By.ID, name)

    def parts(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        return self.driver.execute_script("return document.getElementById(arguments[0]).textContent", name)

    @property
    def steps(self) -> int:
        return int(self.text("steps").removeprefix("step ") or 0)

    def until(self, holds: Callable[[], Any]) -> None:
        self.waiting.until(lambda _: holds())

    def until_state(self, words: str) -> None:
        self.until(lambda: words in self.text("state"))

    def keys(self, *keys: str) -> None:
        """Press keys where the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, name: str) -> None:
        """Go on to a part by the tabulator alone; where the focus is can be seen."""
        for _ in range(30):
            self.keys(Keys.TAB)
            focused = self.driver.switch_to.active_element
            assert focused.value_of_css_property("outline-style") != "none", focused.get_attribute("outerHTML")
            if name in (focused.get_attribute("id"), focused.get_attribute("class")):
                return
        pytest.fail(f"the tabulator does not come to {name}")

    def pixels(self, element: Any) -> Array:
        """Return a picture of a part, wherever it is."""
        clip = self.driver.execute_script(
            "const {x, y, width, height} = arguments[0].getBoundingClientRect();"
            "return {x: x + scrollX, y: y + scrollY, width, height, scale: 1}",
            element,
        )
        asked = {"clip": clip, "captureBeyondViewport": True}
        png = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)["data"]
        return imread(io.BytesIO(base64.b64decode(png)))

    def maps(self) -> list[Array]:
        return [self.pixels(own) for own in self.parts(".map canvas")]

    def logged(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(own["message"])["message"] | own for own in self.driver.get_log(kind)]

    def check(self) -> None:
        """See that nothing was asked of another host, and no error was noted."""
        methods = {"Network.requestWillBeSent": ("request", "url"), "Network.webSocketCreated": ("url",)}
        for message in self.logged("performance"):
            found = message["params"]
            for key in methods.get(message["method"], ()):
                found = found[key]
            if isinstance(found, str):
                assert urlsplit(found).hostname == "127.0.0.1", found
        errors = self.driver.get_log("browser")
        assert self.errors_are_expected or not errors, errors


@pytest.fixture
def page(driver: Any) -> Iterator[Page]:
    own = Page(driver)
    yield own
    own.check()
    driver.get("about:blank")


def continued(writer: CharacterModel, prompt: str, count: int) -> str:
    return prompt + "".join(itertools.islice(writer.generate(prompt, 0), count))


# ---- Characters -----------------------------------------------------------------------------------------------------


def test_a_model_of_characters_writes(page: Page, characters: Server, writer: CharacterModel) -> None:
    page.open(characters)
    page.until_state("Connected")
    assert "GRU 40, 6 · 11 characters" in page.text("model")
    page.part("prompt").send_keys("abé")
    page.driver.execute_script("arguments[0].value = 0", page.part("temperature"))
    page.part("write").click()
    page.until(lambda: len(page.text("text")) > 10)
    assert page.text("state") == "Writing …"
    early = page.maps()
    page.until(lambda: len(page.text("text")) > 30)
    assert page.part("write").text == "Stop"
    page.part("write").click()
    page.until(lambda: page.part("write").text == "Write")
    page.until_state("Connected")
    written = page.text("text")
    assert written == continued(writer, "abé", len(written) - 3)
    assert [own.text for own in page.parts("#text .given")] == ["abé"]
    assert page.text("said") == f"Written: {written[3:]}"
    assert page.steps == len(written)

    bars = [own.text.split() for own in page.parts("#bars li")]
    assert len(bars) == 10
    assert bars[0][-2:] == ["100.0", "%"]

    late = page.maps()
    assert len(late) == 2 * 4  # r, z, n and h of two layers
    for before, after in zip(early, late, strict=True):
        assert len(np.unique(after.reshape(-1, after.shape[-1]), axis=0)) > 20  # colours
        assert (before != after).any(axis=-1).mean() > 0.1
    titles = [own.text for own in page.parts(".layer h3")]
    assert titles == ["Layer 1.l0: 40 units, the 32 most active", "Layer 1.l1: 6 units"]


def test_values_are_read_out(page: Page, characters: Server, writer: CharacterModel) -> None:
    page.open(characters)
    page.until_state("Connected")
    page.part("prompt").send_keys("hgfab")
    page.part("write").click()
    page.until(lambda: len(page.text("text")) > 8)
    page.part("write").click()
    page.until_state("Connected")
    embedding, gru, *_ = writer.network
    _, _, gates = gru(embedding(writer.encode(page.text("text")[:5])[:, None]), return_gates=True)

    canvas = page.parts(".layer:nth-child(2) canvas")[1]
    step, units = 4, set()
    x = round((step - 0.5) / 64 * canvas.size["width"] - canvas.size["width"] / 2)
    for row in range(6):
        y = round((row + 0.5) / 6 * canvas.size["height"] - canvas.size["height"] / 2)
        ActionChains(page.driver).move_to_element_with_offset(canvas, x, y).perform()
        words = page.parts(".readout")[1].text
        unit = int(re.match(rf"Step {step} “a”, unit (\d): ", words)[1])
        units.add(unit)
        for name in "rzn":
            assert f"{name} {gates[f'{name}_l1'][step - 1, 0, unit]:.2f}" in words
    assert units == {*range(6)}


def test_what_the_model_does_not_know_is_said(page: Page, characters: Server) -> None:
    page.open(characters)
    page.until_state("Connected")
    page.part("write").click()
    page.until(lambda: page.text("prompt-note") == "Write at least one character, which the model goes on from.")
    page.part("prompt").send_keys("abxyx")
    page.part("write").click()
    page.until(lambda: page.text("prompt-note") == "The model does not know “x”, “y”.")
    assert page.part("prompt").get_attribute("aria-invalid") == "true"
    assert page.text("text") == ""


def test_temperature_and_a_new_session(page: Page, characters: Server, writer: CharacterModel) -> None:
    page.open(characters)
    page.until_state("Connected")
    page.part("prompt").send_keys("a")
    page.part("write").click()
    page.until(lambda: len(page.text("text")) > 3)
    page.part("write").click()
    page.until_state("Connected")
    logits, _ = writer.network(writer.encode(page.text("text"))[:, None])
    page.part("temperature").send_keys(Keys.END)
    assert page.text("temperature-value") == "2"
    shares = np.exp(logits[-1, 0] / 2) / np.exp(logits[-1, 0] / 2).sum()
    assert page.parts("#bars .percent")[0].text == f"{100 * shares.max():.1f} %"
    kept = characters.metric("sessions")
    page.part("anew").click()
    page.until_state("Connected")
    assert page.text("text") == page.text("steps") == page.text("layers") == page.text("bars") == ""
    assert characters.metric("sessions") == kept


def test_characters_are_chosen_by_their_probabilities(page: Page, characters: Server) -> None:
    page.open(characters)
    logits = np.array([1.0, 3.0, 0.5, 2.0])
    run = """
        const [logits, temperature, done] = arguments;
        import("./probabilities.js").then(({ probabilities, sample }) => {
            const shares = probabilities(logits, temperature);
            const counts = shares.map(() => 0);
            for (let draw = 0; draw < 20000; draw++) counts[sample(shares)] += 1 / 20000;
            done([shares, counts]);
        });
    """
    for temperature in (0.5, 1.0, 2.0, 0):
        expected = np.exp(logits / temperature) if temperature else logits == logits.max()
        shares, counts = page.driver.execute_async_script(run, logits.tolist(), temperature)
        np.testing.assert_allclose(shares, expected / expected.sum(), rtol=1e-12)
        np.testing.assert_allclose(counts, shares, atol=0.02)  # five standard deviations and more


def test_it_works_from_the_keyboard(page: Page, characters: Server) -> None:
    page.open(characters)
    page.until_state("Connected")
    page.tab_to("prompt")
    page.keys("abc")
    page.tab_to("temperature")
    page.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.text("temperature-value") == "0.7"
    page.tab_to("write")
    page.keys(Keys.ENTER)
    page.until(lambda: len(page.text("text")) > 10)
    page.keys(Keys.ENTER)
    page.until_state("Connected")
    written = page.text("text")
    page.tab_to("maps")
    readout = page.parts(".readout")[0]
    assert readout.text.startswith(f"Step {len(written)} ")
    page.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    assert readout.text.startswith(f"Step {len(written) - 2} ")
    assert readout.get_attribute("aria-live") == "polite"
    marks = page.parts(".layer:first-child .cursor")
    assert all(own.is_displayed() for own in marks)
    page.keys(Keys.TAB)
    assert not any(own.is_displayed() for own in marks)


# ---- Numbers --------------------------------------------------------------------------------------------------------


def outputs(page: Page) -> list[float]:
    return [float(own.text.split()[1]) for own in page.parts("#values span")]


def test_sliders_step_a_model_of_numbers(page: Page, numbers: Server, model: nn.Sequential) -> None:
    page.open(numbers)
    page.until_state("Connected")
    empty = page.pixels(page.part("chart"))
    page.tab_to("slider-x1")
    page.tab_to("slider-x2")
    x = []
    for place in range(3):
        page.keys(Keys.ARROW_RIGHT)
        page.until(lambda place=place: page.steps == place + 1)
        x.append([0, (place + 1) / 100, 0])
    page.tab_to("step")
    page.keys(Keys.ENTER)
    page.until(lambda: page.steps == 4)
    x.append(x[-1])
    y, _ = model(np.array(x, np.float32))
    np.testing.assert_allclose(outputs(page), y[-1], rtol=1e-3)
    assert page.text("said") == ", ".join(own.text for own in page.parts("#values span"))
    assert (page.pixels(page.part("chart")) != empty).any()
    assert [own.text for own in page.parts(".layer:first-child figcaption")] == [
        *("input gate i", "forget gate f", "candidate g", "output gate o", "state h", "cell c")
    ]
    assert [own.text for own in page.parts(".layer:last-child figcaption")] == ["state h"]


def test_a_signal_is_drawn_and_played(page: Page, numbers: Server, model: nn.Sequential) -> None:
    page.open(numbers)
    page.until_state("Connected")
    canvas = page.part("signal")
    flat, width, height = page.pixels(canvas), canvas.size["width"], canvas.size["height"]
    drawing = ActionChains(page.driver, duration=50).move_to_element_with_offset(canvas, 2 - width // 2, 0)
    drawing.click_and_hold().move_by_offset(width // 2, 5 - height // 2).move_by_offset(width // 2 - 4, height - 10)
    drawing.release().perform()
    assert (page.pixels(canvas) != flat).any()
    page.part("play").click()
    page.until(lambda: page.steps > 10)
    assert page.text("state") == "Playing …"
    early, taken = page.maps(), page.steps
    page.until(lambda: page.steps > taken + 10)
    page.part("play").click()
    page.until_state("Connected")
    assert page.steps < 64
    assert all((before != after).any() for before, after in zip(early, page.maps(), strict=True))

    page.part("clear").click()
    page.part("anew").click()
    page.until_state("Connected")
    page.tab_to("signal")
    page.keys(Keys.ARROW_RIGHT, Keys.PAGE_UP, Keys.PAGE_UP, Keys.ARROW_DOWN, Keys.END, Keys.PAGE_DOWN)
    assert canvas.get_attribute("aria-valuetext") == "step 64: -0.1"
    page.tab_to("play")
    page.keys(Keys.ENTER)
    page.until(lambda: page.steps == 64)
    page.until_state("Connected")
    x = np.zeros((64, 3), np.float32)
    x[1, 0], x[63, 0] = 0.19, -0.1
    y, _ = model(x)
    np.testing.assert_allclose(outputs(page), y[-1], rtol=1e-3)
    page.part("step").click()
    page.until(lambda: page.steps == 65)
    page.tab_to("maps")
    page.keys(*[Keys.ARROW_LEFT] * 70)
    assert page.parts(".readout")[0].text.startswith("Step 2, ")  # of 64 that are shown


def test_many_inputs_come_as_a_table(page: Page, folder: Path) -> None:
    wide = nn.Sequential(nn.GRU(17, 4, seed=0), nn.Linear(4, 6, seed=0))
    gn.save(wide, folder / "wide.safetensors")
    with Server(folder, folder / "wide.safetensors", "--store", "wide.db") as server:
        page.open(server)
        page.until_state("Connected")
        table, play = page.part("table"), page.part("play-table")
        for content, message in (
            ("", "Paste at least one line."),
            ("1 2", "Line 1: expected 17 numbers, got 2."),
            ("1, x", "Line 1: expected numbers, got “x”."),
        ):
            table.clear()
            table.send_keys(content)
            play.click()
            page.until(lambda message=message: page.text("table-note") == message)
        table.clear()
        table.send_keys(f"{'0.5,' * 16}1\n\n{'2 ' * 17}")
        play.click()
        page.until(lambda: page.steps == 2)
        page.until_state("Connected")
        y, _ = wide(np.array([[0.5] * 16 + [1], [2] * 17], np.float32))
        assert f"the largest of 6 outputs is y{y[-1].argmax() + 1}" in page.text("values")


# ---- What happens around it -----------------------------------------------------------------------------------------


NOTE_STATES = """
window.states = [];
new MutationObserver(() => states.push(state.textContent)).observe(state, {childList: true});
"""


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as own:
        yield own


def test_a_server_that_ends_costs_no_character(
    page: Page, folder: Path, written: Path, writer: CharacterModel, servers: ExitStack
) -> None:
    page.errors_are_expected = True  # Chromium notes each connection that fails
    options = ["--store", "ended.db", "--durability", 7, "--lease", 0.5]
    server = servers.enter_context(Server(folder, written, *options))
    page.open(server)
    page.until_state("Connected")
    page.driver.execute_script("arguments[0].value = 0", page.part("temperature"))
    page.part("prompt").send_keys("ab")
    page.part("write").click()
    page.driver.execute_script(NOTE_STATES)  # they may last for half a second
    for number, words in (
        (signal.SIGTERM, "The server says: the server is going down; go on elsewhere. Trying again in "),
        (signal.SIGKILL, "No connection to the server. Trying again in "),
    ):
        before = len(page.text("text"))
        page.until(lambda before=before: len(page.text("text")) > before + 10)
        server.process.send_signal(number)
        page.until(lambda words=words: words in page.driver.execute_script("return states.join()"))
        server.process.communicate()
        server = servers.enter_context(Server(folder, written, *options, "--port", server.port))
        page.until(lambda: page.driver.execute_script("return states.at(-1)").startswith("Connected again: "))
    before = len(page.text("text"))
    page.until(lambda: len(page.text("text")) > before + 10)
    page.part("write").click()
    page.until(lambda: page.part("write").text == "Write")
    assert page.text("text") == continued(writer, "ab", len(page.text("text")) - 2)


def test_ends_are_said_with_their_reason(page: Page, numbers: Server) -> None:
    page.errors_are_expected = True  # the session that a new one follows is gone
    page.open(numbers)
    page.until_state("Connected")
    (name,) = {
        json.loads(own["params"]["response"]["payloadData"])["session"]
        for own in page.logged("performance")
        if own["method"] == "Network.webSocketFrameReceived"
    }
    page.part("step").click()
    page.until(lambda: page.steps == 1)
    with numbers.session(name) as other:
        page.until_state("Ended: the session has another connection")
        page.part("step").click()
        page.until(lambda: page.text("said") == "the session has another connection")
        other.take(np.zeros(3, np.float32))
    page.part("again").click()
    page.until_state("Connected again: the session goes on at step 2")
    reach, slider = page.part("reach"), page.part("slider-x1")
    reach.clear()
    reach.send_keys("1e39", Keys.TAB)
    slider.send_keys(Keys.END)
    page.until_state("Ended: x: expected finite numbers")
    reach.clear()
    reach.send_keys("1", Keys.TAB)
    page.part("again").click()
    page.until_state("Connected again: the session goes on at step 2")
    slider.send_keys(Keys.HOME)
    page.until(lambda: page.steps == 3)
    numbers.request(f"/v1/sessions/{name}", method="DELETE")
    page.until_state("Ended: ")
    page.part("again").click()
    page.until_state("Ended: there is no such session")
    page.part("anew").click()
    page.until_state("Connected")


def test_a_session_rests_and_the_model_is_replaced(page: Page, folder: Path) -> None:
    before, after = (
        nn.Sequential(nn.Embedding(size, 3, seed=0), nn.GRU(3, 4, seed=0), nn.Linear(4, wide, seed=0))
        for size, wide in ((5, 2), (7, 7))
    )
    path = folder / "indices.safetensors"
    gn.save(before, path)
    with Server(folder, path, "--store", "indices.db", "--idle", 0.5) as server:
        page.open(server)
        page.until_state("Resting, because no step came for long. The next step goes on")
        page.tab_to("slider-index")
        page.keys(Keys.END)
        page.until(lambda: page.steps == 1)
        y, _ = before(np.array([4]))
        np.testing.assert_allclose(outputs(page), y[-1], rtol=1e-3)
        assert [own.text.split()[0] for own in page.parts("#values span")] == ["y0", "y1"]
        gn.save(after, path)
        server.process.send_signal(signal.SIGHUP)
        page.until(lambda: server.metric("reloads_total") == 1)
        page.part("anew").click()
        page.until(lambda: "indices 7, outputs 7" in page.text("model"))
        page.tab_to("slider-index")
        page.keys(Keys.END)
        y, _ = after(np.array([6]))
        page.until(lambda: f"the largest of 7 outputs is y{y[-1].argmax()}" in page.text("values"))


def test_a_model_without_gates(page: Page, folder: Path) -> None:
    gn.save(model := nn.Sequential(nn.Conv1d(1, 2, 3, padding="causal", seed=0)), folder / "convolution.safetensors")
    with Server(folder, folder / "convolution.safetensors", "--store", "convolution.db") as server:
        page.open(server)
        page.until_state("Connected")
        page.tab_to("slider-x1")
        page.keys(Keys.END)
        page.until(lambda: page.steps == 1)
        np.testing.assert_allclose(outputs(page), model(np.ones((1, 1), np.float32))[0], rtol=1e-3)
        assert not page.part("inside").is_displayed()


def test_a_model_without_sessions(page: Page, folder: Path) -> None:
    gn.save(nn.GRU(3, 4, bidirectional=True), folder / "both.safetensors")
    with Server(folder, folder / "both.safetensors", "--store", "both.db") as server:
        page.open(server)
        page.until_state("This model takes no steps: ")
        assert "a step knows nothing of later ones" in page.text("state")


def test_tokens_are_asked_for_and_not_kept(page: Page, folder: Path, written: Path) -> None:
    page.errors_are_expected = True  # Chromium notes each status 401
    token = "0123456789/abc=(d)"  # characters that a subprotocol cannot have
    given = {"GRU_NATIVE_SERVE_TOKENS": f"ann={token}"}
    with Server(folder, written, "--store", "tokens.db", **given) as server:
        page.open(server)
        page.until_state("The server wants a token.")
        assert page.driver.switch_to.active_element.get_attribute("id") == "token"
        page.keys("wrong", Keys.ENTER)
        page.until_state("The server does not know this token.")
        page.keys(token, Keys.ENTER)
        page.until_state("Connected")
        page.part("prompt").send_keys("a")
        page.part("write").click()
        page.until(lambda: len(page.text("text")) > 2)
        kept = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        assert page.driver.execute_script(kept) == json.dumps([{}, {}, "", f"{server.url}/"], separators=(",", ":"))
        page.part("write").click()
        page.until_state("Connected")
        step = page.text("steps")
    given = {"GRU_NATIVE_SERVE_TOKENS": "ann=another-of-hers-too"}
    with Server(folder, written, "--store", "tokens.db", "--port", server.port, **given):
        page.until_state("The server does not know this token any more.")
        page.keys("another-of-hers-too", Keys.ENTER)
        page.until_state(f"Connected again: the session goes on at {step}")
        page.driver.refresh()
        page.until_state("The server wants a token.")


def test_the_files_come_with_a_strict_policy(numbers: Server) -> None:
    for path in ("/", "/page.js", "/page.css", "/icon.svg"):
        got = numbers.request(path)
        assert got.status == 200
        assert got.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["cache-control"] == "no-cache"


# ---- Looks ----------------------------------------------------------------------------------------------------------

CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => channels(colour).slice(0, 3).map((own) => own / 255)
    .map((own) => own <= 0.03928 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4)
    .reduce((sum, own, place) => sum + own * [0.2126, 0.7152, 0.0722][place], 0);
function ground(element) {
    const own = getComputedStyle(element).backgroundColor;
    return channels(own)[3] === 0 ? ground(element.parentElement) : own;
}
return [...document.querySelectorAll("body *")].filter((own) => own.checkVisibility())
    .filter((own) => [...own.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((own) => [own.outerHTML.slice(0, 100), light(getComputedStyle(own).color), light(ground(own))])
    .map(([html, a, b]) => [html, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["characters", "numbers"])
def test_it_is_legible(page: Page, request: pytest.FixtureRequest, scheme: str, kind: str) -> None:
    page.open(request.getfixturevalue(kind), WIDE, scheme)
    page.until_state("Connected")
    if kind == "characters":
        page.part("prompt").send_keys("a")
        page.part("write").click()
        page.until(lambda: len(page.text("text")) > 4)
        page.part("write").click()
        page.until_state("Connected")
    else:
        page.part("step").click()
        page.until(lambda: page.text("values"))
    contrasts = page.driver.execute_script(CONTRASTS)
    assert len(contrasts) > 20
    assert not [found for found in contrasts if found[1] < 4.5]
    assert (page.pixels(page.parts("body")[0])[0, 0, :3].mean() > 0.5) == (scheme == "light")
    for node in page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]:
        properties = {own["name"]: own["value"].get("value") for own in node.get("properties", [])}
        if properties.get("focusable") and node["role"]["value"] != "RootWebArea":
            assert node["name"]["value"], node
    for size in (WIDE, NARROW):
        page.resize(size)
        page.until(lambda size=size: page.driver.execute_script("return innerWidth") == size[0])
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
