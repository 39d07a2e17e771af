"""Alignment: which target tokens and positions a source's tokens and positions stand for.

Three questions, three files: `vocabulary` (which target id is this source id?), `sequence` (which source
position is this target position?) and `project` (so what is the source's row here?). `doctor` shows all of
it for a piece of text.
"""

from fusebench.align.links import Links, Pair, link
from fusebench.align.project import project
from fusebench.align.sequence import dtw, offset
from fusebench.align.spelling import Spelling, spell
from fusebench.align.stage import align_source
from fusebench.align.vocabulary import map_vocabulary

__all__ = ["Links", "Pair", "Spelling", "align_source", "dtw", "link", "map_vocabulary", "offset", "project", "spell"]
