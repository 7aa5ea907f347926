"""Archives: unpacked once, nested ones too, never outside their folder."""

import io
import os
import shutil
import tarfile
import zipfile

import pytest

from gccpm_lib.datasets.archives import unpack_all
from gccpm_lib.datasets.records import DataError


def zip_bytes(members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tar_bytes(members: dict[str, bytes], mode="w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name, pack",
    [("a.zip", zip_bytes), ("a.ZIP", zip_bytes), ("a.tar.gz", tar_bytes), ("a.tgz", tar_bytes),
     ("a.tar", lambda members: tar_bytes(members, "w"))],
)  # fmt: skip
def test_every_kind_is_unpacked_beside_itself(tmp_path, name, pack):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_bytes(pack({"x/y.txt": b"content"}))
    assert list(unpack_all(tmp_path)) == [tmp_path / "deep" / name]
    assert (tmp_path / "deep" / "x" / "y.txt").read_bytes() == b"content"


def test_archives_inside_archives_are_unpacked_too(tmp_path):
    inner = tar_bytes({"innermost.zip": zip_bytes({"z.txt": b"z"})})
    (tmp_path / "outer.zip").write_bytes(zip_bytes({"folder/inner.tgz": inner}))
    assert [p.name for p in unpack_all(tmp_path)] == ["outer.zip", "inner.tgz", "innermost.zip"]
    assert (tmp_path / "folder" / "z.txt").read_bytes() == b"z"


def test_a_second_call_does_nothing(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_bytes({"x.txt": b"1", "b.zip": zip_bytes({"y.txt": b"2"})}))
    assert len(list(unpack_all(tmp_path))) == 2
    (tmp_path / "x.txt").write_bytes(b"changed since")
    assert list(unpack_all(tmp_path)) == [] and (tmp_path / "x.txt").read_bytes() == b"changed since"


def test_an_interrupted_call_is_taken_up_where_it_stood(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_bytes({"b.zip": zip_bytes({"y.txt": b"2"})}))
    assert next(unpack_all(tmp_path)).name == "a.zip"
    assert [p.name for p in unpack_all(tmp_path)] == ["b.zip"] and (tmp_path / "y.txt").exists()


@pytest.mark.parametrize("pack, name", [(zip_bytes, "bad.zip"), (tar_bytes, "bad.tar.gz")])
@pytest.mark.parametrize("member", ["../outside.txt", "x/../../outside.txt", "/outside_of_all_folders.txt"])
def test_nothing_is_written_outside(tmp_path, pack, name, member):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_bytes(pack({"good.txt": b"1", member: b"2"}))
    with pytest.raises(DataError, match=rf"{name}: member .* points outside its folder; don't use this archive"):
        list(unpack_all(folder))
    assert [p.name for p in tmp_path.rglob("*")] == ["data", name]


def test_a_link_in_an_archive_leads_nowhere_outside(tmp_path):
    folder, outside = tmp_path / "data", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    with tarfile.open(folder / "bad.tar", "w") as file:
        link = tarfile.TarInfo("door")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        file.addfile(link)
        info = tarfile.TarInfo("door/file.txt")
        info.size = 1
        file.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DataError, match=r"bad\.tar"):
        list(unpack_all(folder))
    assert os.listdir(outside) == [] and not (folder / "bad.tar.unpacked").exists()


@pytest.mark.parametrize(
    "name, content",
    [("a.zip", zip_bytes({"x.bin": os.urandom(5000)})), ("a.tar.gz", tar_bytes({"x.bin": os.urandom(5000)})),
     ("a.tar", tar_bytes({"x.bin": os.urandom(20000)}, "w")), ("a.zip", b""), ("a.tar", b"")],
)  # fmt: skip
def test_a_cut_off_archive_is_refused_and_not_marked_done(tmp_path, name, content):
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"(?s){name}: archive cut off or damaged .*download it again"):
        list(unpack_all(tmp_path))
    assert not (tmp_path / f"{name}.unpacked").exists()


@pytest.mark.parametrize("name, pack", [("a.zip", zip_bytes), ("a.tar.gz", tar_bytes)])
@pytest.mark.parametrize("damage", [b"\xff" * 40, b"\0" * 40], ids=["ones", "zeros"])
def test_a_damaged_archive_is_refused_by_name(tmp_path, name, pack, damage):
    text = b"".join(b"%d " % (i * i) for i in range(20000))
    content = pack({"x.txt": text, "y.txt": text})
    middle = len(content) // 2
    (tmp_path / name).write_bytes(content[:middle] + damage + content[middle + len(damage) :])
    with pytest.raises(DataError, match=rf"{name}: archive cut off or damaged"):
        list(unpack_all(tmp_path))


def test_a_folder_without_archives_is_fine(tmp_path):
    assert list(unpack_all(tmp_path)) == []


def test_files_that_are_there_stay_as_they_are(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/mine.txt").write_bytes(b"corrected by hand")
    (tmp_path / "a.zip").write_bytes(zip_bytes({"x/mine.txt": b"as packed", "x/new.txt": b"new"}))
    list(unpack_all(tmp_path))
    assert (tmp_path / "x/mine.txt").read_bytes() == b"corrected by hand" and (
        tmp_path / "x/new.txt"
    ).read_bytes() == b"new"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_out_and_devices_are_refused(tmp_path, kind):
    folder, secret = tmp_path / "data", tmp_path / "secret"
    folder.mkdir()
    secret.write_bytes(b"secret")
    with tarfile.open(folder / "bad.tar", "w") as file:
        member = tarfile.TarInfo("member")
        member.type, member.linkname = kind, "../secret"
        file.addfile(member)
    with pytest.raises(DataError, match=r"bad\.tar"):
        list(unpack_all(folder))
    assert sorted(p.name for p in folder.iterdir()) == ["bad.tar"]


def test_a_zip_makes_no_links(tmp_path):
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data/a.zip", "w") as file:
        info = zipfile.ZipInfo("door")
        info.external_attr = 0o120777 << 16  # a symbolic link
        file.writestr(info, "../../etc")
    list(unpack_all(tmp_path / "data"))
    assert not (tmp_path / "data/door").is_symlink() and (tmp_path / "data/door").read_bytes() == b"../../etc"


def test_what_the_disk_cannot_take_is_refused_before(tmp_path, monkeypatch):
    (tmp_path / "bomb.zip").write_bytes(zip_bytes({"zeros": b"\0" * 10_000_000}))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 5_000_000))
    with pytest.raises(DataError, match=r"bomb\.zip: unpacks to 0\.0 GB, but 0\.0 GB are free"):
        list(unpack_all(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["bomb.zip"]


def test_archives_without_end_are_given_up(tmp_path):
    content = b"deepest"
    for depth in range(7):
        content = zip_bytes({f"{depth}.zip": content})
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"3\.zip: the 5th archive inside one another"):
        list(unpack_all(tmp_path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused_even_within_the_folder(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        info = tarfile.TarInfo("odd")
        info.type, info.linkname = kind, "x"
        file.addfile(info)
    with pytest.raises(DataError, match=r"a\.tar: member 'odd' is a link or a device"):
        list(unpack_all(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_file_where_a_folder_must_be_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_bytes({"x/y.txt": b"1"}))
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"a\.zip: .*x is a file, but a folder has to be there"):
        list(unpack_all(tmp_path))
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_a_damaged_lzma_member_is_a_damaged_archive(tmp_path):
    data = bytearray(zip_bytes({"x.txt": bytes(range(256)) * 9}, zipfile.ZIP_LZMA))
    data[45:60] = b"\xff" * 15
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip: archive cut off or damaged"):
        list(unpack_all(tmp_path))
