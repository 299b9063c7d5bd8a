"""The objects of the model in Python, found by name or made: `meshcode.client.api`."""
