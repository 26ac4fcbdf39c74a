"""`wellward` with a demo population of a few members and days: `python -m tests.small_up up`.

Only the amounts differ; all else is the command as it is shipped.
"""

from app import cli
from app.demo import making

making.DEMO_DAYS, making.OTHERS, making.OTHERS_DAYS = 8, 3, 3
making.STORIES, making.COLLEAGUES = (), 0
MEMBERS = 2 + making.OTHERS

if __name__ == "__main__":
    cli.main()
