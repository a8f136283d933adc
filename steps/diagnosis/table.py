"""What charon's and swanctl's lines mean: one row a cause, in the order in which they are to be believed.

A row's line is what its cause alone makes a daemon say; what merely follows from it ("received AUTHENTICATION_FAILED")
has seven causes and decides nothing. So rows come in the order kernel, what is loaded, certificates, identities,
proposals, selectors, network: the earlier ones make the later ones' lines appear. The texts are those of strongSwan
5.9.1 to 6.0.6; where two versions differ, the pattern takes both. `number` is the row of the project's own list.
"""

from __future__ import annotations

from steps.diagnosis.agreement import AGREEMENT
from steps.diagnosis.network import NETWORK
from steps.diagnosis.setup import SETUP
from steps.diagnosis.trust import TRUST

ROWS = (*SETUP, *TRUST, *AGREEMENT, *NETWORK)
"""All causes that a line decides, the most telling first. Those that show in none are in `steps.diagnosis.states`."""
