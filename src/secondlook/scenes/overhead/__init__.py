"""The embedded world from above, in the role of remote sensing."""

from secondlook.scenes.overhead.source import Overhead as Overhead
