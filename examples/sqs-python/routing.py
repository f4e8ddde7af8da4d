"""Which partition a key belongs to. The same key has the same one in every language, and in Tidegate itself."""


def partition(key: str, partitions: int) -> int:
    """The partition of a key, from 0: FNV-1a, 32 bits, of its UTF-8, modulo the partitions (1 or more)."""
    if partitions < 1:
        raise ValueError(f"{partitions} partitions; at least 1 is needed")
    return fnv1a_32(key.encode()) % partitions


def fnv1a_32(data: bytes) -> int:
    """https://datatracker.ietf.org/doc/html/draft-eastlake-fnv"""
    sum = 0x811C9DC5
    for byte in data:
        sum = (sum ^ byte) * 0x01000193 & 0xFFFFFFFF
    return sum
