"""Which files go through LFS, and which are not uploaded at all: .gitattributes and .gitignore."""

from fnmatch import fnmatch

LARGEST_REGULAR = 10 * 1024 * 1024  # bytes; what is larger has to go through LFS

_LFS = """7z arrow avro bin bz2 ckpt ftz gz h5 joblib lz4 mds mlmodel model msgpack npy npz onnx ot parquet pb pickle
pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst pcm sam raw aac flac mp3 ogg wav bmp gif png tiff jpg jpeg
webp mp4 webm"""
GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in [*(f"*.{suffix}" for suffix in _LFS.split()), "saved_model/**/*", "*tfevents*"]
)


def _matches(path: str, pattern: str) -> bool:
    """Git's rule: a pattern with a slash is for the whole path, another for a name in any folder."""
    if "/" in pattern.rstrip("/"):
        return fnmatch(path, pattern.strip("/").replace("**/", "*"))
    return fnmatch(path.rpartition("/")[2], pattern)


def is_lfs(path: str, size: int, sample: bytes, gitattributes: str) -> bool:
    """Whether a file has to go through LFS: by its name, its size (bytes), or because it is not text."""
    rows = [line.split() for line in gitattributes.splitlines() if line.strip() and not line.startswith("#")]
    if any(_matches(path, pattern) for pattern, *marks in rows if "filter=lfs" in marks):
        return True
    return size > LARGEST_REGULAR or _is_binary(sample)


def _is_binary(sample: bytes) -> bool:
    try:
        sample.decode()
    except UnicodeDecodeError as problem:
        return problem.end < len(sample)  # the sample may end within a letter
    return b"\0" in sample


def is_ignored(path: str, gitignore: str) -> bool:
    """Whether a file, or a folder that it is in, is named by a line of .gitignore (`!` is not understood)."""
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    for line in gitignore.splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith(("#", "!")):
            candidates = above if pattern.endswith("/") else [*above, path]
            if any(_matches(candidate, pattern.rstrip("/")) for candidate in candidates):
                return True
    return False
