"""A planned timeline carried out by real nodes: links that open and close, computers that take their time."""
