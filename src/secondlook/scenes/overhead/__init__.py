"""The embedded world from above: a room of its own that plays the part of remote sensing."""

from secondlook.scenes.overhead.source import Overhead as Overhead
