"""Files generated from the config's models: ``python -m fxbin.config schema`` or ``tables`` prints them."""

import sys

from fxbin.config import config_json_schema_text, config_tables

match sys.argv[1:]:
    case ["schema"]:
        print(config_json_schema_text(), end="")
    case ["tables"]:
        for title, table in config_tables().items():
            print(f"## {title}\n\n{table}\n")
    case _:
        sys.exit("usage: python -m fxbin.config schema|tables")
