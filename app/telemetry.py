"""What keeps libraries from telling others about this service.

From 1.29 on, onnxruntime reports each session to its makers (the graph's name and hashes among it), keeps a database
for that in the home folder, and begins a thread for it when it is imported (pull request 27379 of its repository).
An operator who wants that sets the variable to 0.
"""

OFF = {"ORT_DISABLE_TELEMETRY": "1"}
"""Variables that must be set before the libraries are imported."""
