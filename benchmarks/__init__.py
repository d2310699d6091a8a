"""What the library costs, beside other clients; README.md says how to run it and how to read it."""
