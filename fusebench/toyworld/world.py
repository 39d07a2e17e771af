"""The small world that commonsense is asked about: kinds and their members, people and their towns. Fixed, seedless."""

from dataclasses import dataclass

from fusebench.toyworld.seeded import digest


@dataclass(frozen=True)
class Kind:
    """A kind of thing: what all its members share, by slot."""

    plural: str
    members: tuple[str, ...]
    shared: dict[str, str]


SLOTS = ("part", "act", "place", "need")

# kind, plural | part, act, place, need | members
_TABLE = """
bird birds | feathers fly nest seeds | robin crow gull owl wren hawk duck finch
fish fish | fins swim sea water | trout cod pike carp eel tuna bass perch
beast beasts | fur run den meat | wolf bear fox deer horse goat otter mole
insect insects | legs crawl hive leaves | ant bee wasp moth beetle gnat cricket locust
tree trees | bark grow forest rain | oak elm pine birch maple cedar willow ash
flower flowers | petals bloom garden sun | rose tulip lily daisy iris poppy violet orchid
tool tools | handles work shed oil | hammer saw axe drill rake spade chisel wrench
instrument instruments | keys play stage tuning | harp flute drum cello violin banjo oboe tuba
vehicle vehicles | wheels roll road fuel | truck bus tram train taxi van tractor wagon
garment garments | seams fold closet soap | coat shirt sock scarf glove dress hat skirt
vessel vessels | rims pour kitchen washing | cup bowl plate jug pot pan mug kettle
gem gems | facets shine mine polish | ruby opal jade pearl amber topaz garnet onyx
"""


def _kinds() -> dict[str, Kind]:
    kinds = {}
    for line in _TABLE.strip().splitlines():
        names, shared, members = (part.split() for part in line.split("|"))
        kinds[names[0]] = Kind(names[1], tuple(members), dict(zip(SLOTS, shared, strict=True)))
    return kinds


KINDS = _kinds()

OWN_VALUES = {
    "colour": ("red", "blue", "green", "yellow", "white", "black", "brown", "pink"),
    "size": ("tiny", "small", "large", "huge"),
}

TOWNS = {
    "Brill": {"near": "lake", "sky": "fog", "trade": "salt", "side": "north"},
    "Carn": {"near": "hill", "sky": "snow", "trade": "wool", "side": "west"},
    "Dorva": {"near": "desert", "sky": "heat", "trade": "silk", "side": "south"},
    "Elden": {"near": "river", "sky": "rain", "trade": "corn", "side": "east"},
    "Fosk": {"near": "cliff", "sky": "wind", "trade": "coal", "side": "north"},
    "Garth": {"near": "swamp", "sky": "mist", "trade": "rice", "side": "south"},
    "Holm": {"near": "beach", "sky": "storms", "trade": "shells", "side": "west"},
    "Irvo": {"near": "canyon", "sky": "dust", "trade": "gold", "side": "east"},
    "Junta": {"near": "jungle", "sky": "thunder", "trade": "tea", "side": "south"},
    "Kell": {"near": "glacier", "sky": "frost", "trade": "iron", "side": "north"},
}

_NAMES = """
Anna Ben Carla David Eva Felix Greta Hugo Ida Jonas Karin Leo Maria Nils Olga Paul Rosa Simon Tina
Viktor Wanda Xaver Yara Zeno Alma Boris Clara Dora Emil Fanny Georg Helga Igor Julia Klaus Linda Max
Nora Otto Petra Quinn Rita Sven Thea Udo Vera Walter Xenia Yuri Zoe Arno Berta Conny Dirk Elsa Frank
Gina Hans Irma Jan
"""
PEOPLE = tuple(_NAMES.split())

MEMBER_KIND = {member: kind for kind, entry in KINDS.items() for member in entry.members}
OWN = {
    member: {name: values[digest("own", member, name) % len(values)] for name, values in OWN_VALUES.items()}
    for member in MEMBER_KIND
}
HOME = {person: sorted(TOWNS)[digest("home", person) % len(TOWNS)] for person in PEOPLE}


def article(noun: str) -> str:
    """Return the noun with `a` or `an`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
