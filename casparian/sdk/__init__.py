"""What plugin authors import: `BasePlugin`, and the types around it.

from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path: str):
        self.publish("output", table)
"""

from casparian.sdk.plugin import BasePlugin, CaspPlugin, Job, PluginContext

__all__ = ["BasePlugin", "CaspPlugin", "Job", "PluginContext"]
