"""The shortest useful plugin: whatever pandas makes of a CSV file."""

import pandas as pd

from casparian.sdk import BasePlugin


class Handler(BasePlugin):
    def execute(self, file_path: str):
        df = pd.read_csv(file_path)
        self.publish("output", df)
