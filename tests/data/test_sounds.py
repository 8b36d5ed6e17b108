"""Sounds: their samples, and the published layouts of AudioCaps, ESC-50 and ESC-10."""

import io
import struct
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from secondlook import data
from secondlook.data.sounds import read_wave
from secondlook.errors import InvalidInput, UnknownName


def pcm(path: Path, content: bytes, width: int, channels: int = 1, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(content)
    return path


def tone(path: Path, level: int) -> Path:
    """Sixteen-bit samples of one level, which tell which file was read."""
    return pcm(path, np.full(4, level, "<i2").tobytes(), 2)


def level(wave: object) -> int:
    samples = wave[0]  # type: ignore[index]
    return round(float(samples[0]) * 2**15)


# --- samples -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "width"),
    [
        (bytes([0, 128, 192]), 1),
        (b"\x00\x80" + b"\x00\x00" + b"\x00\x40", 2),
        (b"\x00\x00\x80" + b"\x00\x00\x00" + b"\x00\x00\x40", 3),
        (b"\x00\x00\x00\x80" + b"\x00\x00\x00\x00" + b"\x00\x00\x00\x40", 4),
    ],
)
def test_whole_numbers_of_any_width_are_shares_of_full_scale(tmp_path: Path, content: bytes, width: int) -> None:
    sound = read_wave(pcm(tmp_path / "a.wav", content, width, rate=44_100))
    assert sound.samples.tolist() == [-1.0, 0.0, 0.5]
    assert sound.samples.dtype == torch.float32
    assert sound.rate == 44_100


def test_the_last_bit_is_kept(tmp_path: Path) -> None:
    content = np.array([1, -1, 32767], "<i2").tobytes()
    sound = read_wave(pcm(tmp_path / "a.WAV", content, 2))
    assert (sound.samples * 2**15).tolist() == [1, -1, 32767]


def test_channels_are_averaged(tmp_path: Path) -> None:
    content = np.array([100, 300, -50, 50], "<i2").tobytes()
    sound = read_wave(pcm(tmp_path / "a.wav", content, 2, channels=2))
    assert (sound.samples * 2**15).tolist() == [200, 0]


def test_broken_sounds(tmp_path: Path) -> None:
    path = pcm(tmp_path / "a.wav", bytes(1000), 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(InvalidInput, match=r"a\.wav is truncated: 990 of 1000 bytes"):
        read_wave(path)
    for content in (b"", b"text" * 20, whole[:30], whole.replace(b"\x01\x00\x01", b"\x03\x00\x01")):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"a\.wav cannot be read as a sound .*replace"):
            read_wave(path)
    for at, spoilt, message in ((34, b"\x0c\0", "12 bits a sample; write it"), (24, bytes(4), "at 0 Hz; write it")):
        path.write_bytes(whole[:at] + spoilt + whole[at + len(spoilt) :])
        with pytest.raises(InvalidInput, match=message):
            read_wave(path)
    with pytest.raises(InvalidInput, match=r"a\.wav holds no sample"):
        read_wave(pcm(path, b"", 2))
    with pytest.raises(InvalidInput, match=r"b\.wav cannot be opened \(No such file"):
        read_wave(tmp_path / "b.wav")
    with pytest.raises(InvalidInput, match=r"a\.txt is no sound; it must end in"):
        read_wave(tmp_path / "a.txt")


def test_other_formats_need_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.ogg").touch()
    with pytest.raises(InvalidInput, match=r'a\.ogg.* needs soundfile; run: .*secondlook\[audio\]"'):
        read_wave(tmp_path / "a.ogg")


def test_other_formats_with_the_extra(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = np.array([[0.5, 0.25], [-1.0, 0.0]], np.float32)
    held = io.BytesIO()
    soundfile.write(held, samples, 22_050, format="FLAC", subtype="PCM_16")
    (tmp_path / "a.flac").write_bytes(held.getvalue())
    sound = read_wave(tmp_path / "a.flac")
    assert sound.samples.tolist() == [0.375, -0.5]
    assert sound.rate == 22_050
    (tmp_path / "a.flac").write_bytes(held.getvalue()[:20])
    with pytest.raises(InvalidInput, match=r"a\.flac cannot be read as a sound"):
        read_wave(tmp_path / "a.flac")


# --- AudioCaps ---------------------------------------------------------------------------------

CAPS = """audiocap_id,youtube_id,start_time,caption
7,-ab.c,30,"A man speaks, then laughs"
8,xyz,0,Rain falls .
9,-ab.c,30,Someone talks
10,uvw,5,rain falls
"""


@pytest.fixture
def caps(tmp_path: Path) -> Path:
    (tmp_path / "test.csv").write_text(CAPS)
    for number, name in enumerate(("-ab.c_30", "xyz", "10")):
        tone(tmp_path / f"audio/{name}.wav", number)
    return tmp_path


def test_audiocaps(caps: Path) -> None:
    sounds = data.load_sounds(f"audiocaps:{caps}/test.csv")
    assert sounds.ids == ("-ab.c_30", "xyz_0", "uvw_5")
    assert sounds.classes == ("A man speaks, then laughs", "Rain falls .")
    assert sounds.texts[:2] == ("A man speaks, then laughs", "Someone talks")
    assert sounds.owner == (0, 0, 1, 2)
    heard = sounds.read([2, 0, 1])
    assert [level(sound) for sound in heard.waves] == [2, 0, 1]
    assert heard.truth.tolist() == [1, 0, 1]


def test_audiocaps_of_the_illusions_has_two_columns(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("youtube_id,caption\na,Rain\nb,Wind\n")
    for name in "ab":
        tone(tmp_path / f"raw/{name}.wav", ord(name))
    sounds = data.load_sounds(f"audiocaps:{tmp_path}/test.csv")
    assert [level(sound) for sound in sounds.read([0, 1]).waves] == [97, 98]
    assert data.load_sounds(f"audiocaps:{tmp_path}/test.csv@{tmp_path}/raw").hash == sounds.hash


def test_audiocaps_with_a_missing_sound(caps: Path) -> None:
    (caps / "audio/xyz.wav").unlink()
    name = f"audiocaps:{caps}/test.csv"
    with pytest.raises(InvalidInput, match=r"line 3: no sound xyz_0\.wav; .*missing='skip'"):
        data.load_sounds(name)
    sounds = data.load_sounds(name, missing="skip")
    assert sounds.ids == ("-ab.c_30", "uvw_5")
    assert sounds.owner == (0, 0, 1)


def test_audiocaps_never_gives_one_sound_two_starts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("youtube_id,start_time,caption\na,0,Rain\na,10,Wind\n")
    tone(tmp_path / "a.wav", 1)
    with pytest.raises(InvalidInput, match=r"several starts for .*a\.wav"):
        data.load_sounds(f"audiocaps:{tmp_path}/t.csv")


def test_audiocaps_broken(caps: Path) -> None:
    (caps / "test.csv").write_text("id,caption\n1,Rain\n")
    with pytest.raises(InvalidInput, match="has no column 'youtube_id'"):
        data.load_sounds(f"audiocaps:{caps}/test.csv")
    with pytest.raises(InvalidInput, match=r"none\.csv cannot be read as a table"):
        data.load_sounds(f"audiocaps:{caps}/none.csv")
    (caps / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no sounds in .*empty"):
        data.load_sounds(f"audiocaps:{caps}/test.csv@{caps}/empty")


# --- ESC ---------------------------------------------------------------------------------------

ESC50 = """filename,fold,target,category,esc10
2-b-A-9.wav,2,9,crying_baby,False
1-a-A-0.wav,1,0,dog,True
2-c-A-0.wav,2,0,dog,True
"""


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text(ESC50)
    for number, name in enumerate(("1-a-A-0", "2-b-A-9", "2-c-A-0")):
        tone(tmp_path / f"audio/{name}.wav", number)
    return tmp_path


def test_esc50(esc50: Path) -> None:
    sounds = data.load_sounds(f"esc50:{esc50}")
    assert sounds.classes == ("dog", "crying baby")
    heard = sounds.read([0, 1, 2])
    assert [level(sound) for sound in heard.waves] == [1, 0, 2]
    assert heard.truth.tolist() == [1, 0, 0]
    assert data.load_sounds(f"esc50:{esc50}#2").ids == ("2-b-A-9.wav", "2-c-A-0.wav")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (ESC50 + "9.wav,1,0,dog,True\n", r"line 5: no sound audio/9\.wav"),
        (ESC50 + "1-a-A-0.wav,1,0,dog,True\n", r"line 5 lists 1-a-A-0\.wav again"),
        (ESC50.replace(",9,", ",x,"), "line 2: target='x' is no number"),
        (ESC50.replace(",9,", ",0,"), "line 3 calls class 0 'dog', an earlier one 'crying baby'"),
    ],
)
def test_esc50_broken(esc50: Path, table: str, said: str) -> None:
    (esc50 / "meta/esc50.csv").write_text(table)
    with pytest.raises(InvalidInput, match=said):
        data.load_sounds(f"esc50:{esc50}")
    with pytest.raises(InvalidInput, match="has no fold '9'; it has 1, 2"):
        data.load_sounds(f"esc50:{esc50}#9")


@pytest.mark.parametrize(
    "names", [("002 - Rain/1-1-A.wav", "001 - Dog bark/1-2-A.wav"), ("002_Rain__1-1-A.wav", "001_Dog-bark__1-2-A.wav")]
)
def test_esc10_in_folders_and_flat(tmp_path: Path, names: tuple[str, str]) -> None:
    for number, name in enumerate(names):
        tone(tmp_path / name, number)
    sounds = data.load_sounds(f"esc10:{tmp_path}")
    assert sounds.ids == names[::-1]
    assert sounds.classes == ("dog bark", "rain")
    heard = sounds.read([0, 1])
    assert [level(sound) for sound in heard.waves] == [1, 0]
    assert heard.truth.tolist() == [0, 1]


def test_esc10_broken(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no sounds in"):
        data.load_sounds(f"esc10:{tmp_path}")
    tone(tmp_path / "rain.wav", 0)
    with pytest.raises(InvalidInput, match=r"rain\.wav does not say its class; call it 001_"):
        data.load_sounds(f"esc10:{tmp_path}")
    with pytest.raises(InvalidInput, match="nowhere cannot be read as a folder"):
        data.load_sounds(f"esc10:{tmp_path}/nowhere")


def test_sounds_are_no_images_and_images_no_sounds(esc50: Path) -> None:
    with pytest.raises(InvalidInput, match="holds sounds, which have no pixels"):
        data.load(f"esc50:{esc50}")
    with pytest.raises(InvalidInput, match="'scenes:test' holds images"):
        data.load_sounds("scenes:test")
    with pytest.raises(UnknownName, match="did you mean esc50"):
        data.load_sounds("esc5:x")


def test_esc10_as_shared(shared: Path) -> None:
    sounds = data.load_sounds(f"esc10:{shared}/data/esc10")
    assert (len(sounds), len(sounds.classes)) == (80, 10)
    assert sounds.classes[0] == "dog bark"
    pytest.importorskip("soundfile")
    heard = sounds.read([0, 79])
    assert heard.truth.tolist() == [0, 9]
    for sound in heard.waves:
        assert sound.rate == 44_100
        assert sound.samples.ndim == 1
        assert 0.01 < float(sound.samples.abs().max()) <= 1.0


# --- floats and extended heads ---------------------------------------------------------------------


def written(path: Path, form: int, bits: int, content: bytes, *, extended: bool = False, missing: int = 0) -> Path:
    """A WAV file of one channel at 8 kHz as its head says, which may say more than there is."""
    wide = bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if extended else form, 1, 8000, 8000 * wide, wide, bits)
    if extended:
        guid = struct.pack("<H", form) + bytes.fromhex("000000001000800000aa00389b71")
        head += struct.pack("<HHI", 22, bits, 4) + guid
    parts = b"fmt " + struct.pack("<I", len(head)) + head
    parts += b"data" + struct.pack("<I", len(content) + missing) + content
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts)
    return path


@pytest.mark.parametrize(
    ("form", "bits", "kind", "extended"),
    [(3, 32, "<f4", False), (3, 64, "<f8", False), (3, 32, "<f4", True), (1, 16, "<i2", True)],
)
def test_floats_and_extended_heads_are_read(tmp_path: Path, form: int, bits: int, kind: str, extended: bool) -> None:
    values = np.array([-1.0, 0.0, 0.5]) * (2**15 if kind == "<i2" else 1)
    sound = read_wave(written(tmp_path / "a.wav", form, bits, values.astype(kind).tobytes(), extended=extended))
    assert sound.samples.tolist() == [-1.0, 0.0, 0.5] and sound.rate == 8000


def test_24_bits_behind_an_extended_head_are_shares_of_full_scale(tmp_path: Path) -> None:
    content = b"\x00\x00\x80" + b"\x00\x00\x00" + b"\x00\x00\x40"
    assert read_wave(written(tmp_path / "a.wav", 1, 24, content, extended=True)).samples.tolist() == [-1.0, 0.0, 0.5]


def test_broken_floats_are_told(tmp_path: Path) -> None:
    some = np.ones(8, "<f4")
    with pytest.raises(InvalidInput, match="truncated: 32 of 96"):
        read_wave(written(tmp_path / "a.wav", 3, 32, some.tobytes(), missing=64))
    with pytest.raises(InvalidInput, match="no sample"):
        read_wave(written(tmp_path / "b.wav", 3, 32, b""))
    some[3] = np.nan
    with pytest.raises(InvalidInput, match="NaN"):
        read_wave(written(tmp_path / "c.wav", 3, 32, some.tobytes()))
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_wave(written(tmp_path / "d.wav", 7, 8, b"1234"))
