"""Which files of a place are pictures, and what is left out: by ending, by content, and folders that are no data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from vlprompt.data.folder_layouts import HEIF, ending, is_picture
from vlprompt.data.picture_files import HEIF_MEND, is_heif
from vlprompt.data.sources import Source

# pictures and films that are not read, by ending
UNREAD = HEIF | frozenset(
    f".{name}"
    for name in "cr2 cr3 nef arw dng orf rw2 raf pef srw sr2 raw svg psd psb xcf jxl eps ai exr hdr dcm nii mp4 mov avi "
    "mkv webm m4v pdf".split()
)
# of everything else a name says that it is no picture
_OTHER = frozenset(
    f".{name}"
    for name in "txt csv tsv json jsonl ndjson xml yaml yml toml ini cfg md rst html htm css js py ipynb sh bat m mat npy "
    "npz pkl pt pth ckpt safetensors onnx h5 hdf5 parquet arrow zip tar gz tgz bz2 xz 7z rar db sqlite log lst doc docx xls "
    "xlsx ods odt ppt pptx exe dll so wav mp3 flac ogg aae xmp thm ds_store url lnk tmp part crdownload license".split()
)
MOST_LOOKED_INTO = 20_000  # files without a usual ending
RUN_FILES = ("run.json", "predict.json", "embed.json")  # of folders that this program wrote


@dataclass(frozen=True)
class Files:
    """pictures: the files that are pictures, in the order of their names. notices: what was left out, one sentence each.
    unread: such as "2 .heic", where no picture is there but others are. own: folders of runs, with a final `/`."""

    pictures: list[str]
    notices: list[str]
    unread: str = ""
    own: tuple[str, ...] = ()


def picture_files(source: Source) -> Files:
    """The pictures of a folder or archive: by ending, and files without a usual one by their first bytes."""
    notices = [
        f"{count} left out: {reason}"
        for reason, count in sorted(source.skipped.items())
        if reason != "hidden"
    ]
    if source.names_read:
        notices.append(source.names_read)
    own = _own_folders(source.files)
    pictures: list[str] = []
    by_content: list[str] = []
    unread: Counter[str] = Counter()
    ours: list[str] = []
    for name in source.files:
        if own and name.startswith(own):
            ours += [name] if is_picture(name) else []
        elif is_picture(name):
            pictures.append(name)
        elif (end := ending(name)) in UNREAD:
            unread[end] += 1
        elif end not in _OTHER and len(by_content) < MOST_LOOKED_INTO and source.files[name] > 16:
            head = source.head(name)
            if is_heif(head):
                unread["HEIC (by content)"] += 1
            elif is_picture_content(head):
                pictures.append(name)
                by_content.append(name)
    if by_content:
        pictures.sort()
        notices.append(
            f"{len(by_content)} files without a picture's ending are pictures by content and are read: {by_content[0]}"
            f"{', ...' if len(by_content) > 1 else ''}"
        )
    if ours:
        folders = ", ".join(own[:3]) + (", ..." if len(own) > 3 else "")
        notices.append(f"{len(ours)} pictures in folders of runs left out ({folders})")
    told = ", ".join(f"{count} {end}" for end, count in sorted(unread.items()))
    if told:
        heif = HEIF_MEND if any(end in HEIF or end.startswith("HEIC") for end in unread) else ""
        notices.append(f"left out, because they are not read: {told} files{heif}")
    return Files(pictures, notices, f"{told} files{heif}" if told else "", own)


def _own_folders(files: Iterable[str]) -> tuple[str, ...]:
    """Folders, with a final `/`, that hold a run or what one said; not the place itself."""
    return tuple(
        sorted(
            folder + "/"
            for folder, _, name in (file.rpartition("/") for file in files)
            if folder and name in RUN_FILES
        )
    )


def is_picture_content(head: bytes) -> bool:
    """Whether a file's first bytes are those of a picture that can be read."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
        or head[4:12] in (b"ftypavif", b"ftypavis")
        or head[:12] == b"\0\0\0\x0cjP  \r\n\x87\n"
    )
