"""Sites: named machines as data, with what a job there must say and how workers are started in it.

    from harmony.sites import site

    machine = site("perlmutter")          # from a sites.toml, or a profile that comes with Harmony

``sites.toml`` of the project comes first, then that of the user, then the profiles.
"""

from __future__ import annotations

from harmony.sites.finding import Found, everything, site
from harmony.sites.model import Blocks, Site, here

__all__ = ["Blocks", "Found", "Site", "everything", "here", "site"]
