"""The real learning work of single nodes: `make_work` gives what a host of a real run needs (see `work.NodeWork`)."""

from orbitune.learn.nodes.start import make_work as make_work
from orbitune.learn.nodes.work import NodeWork as NodeWork
