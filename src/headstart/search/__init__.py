"""Search: plan, ledger and the loop that spends a budget."""

from headstart.search.assemble import assemble
from headstart.search.ledger import Ledger
from headstart.search.listener import Listener
from headstart.search.options import Options
from headstart.search.run import Run, run

__all__ = ["Ledger", "Listener", "Options", "Run", "assemble", "run"]
