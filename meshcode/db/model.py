"""`AlchemyEncoder`, as programs of the original import it: objects of the model as JSON."""

from __future__ import annotations

from meshcode.client.objects.asking import ObjectEncoder as AlchemyEncoder

__all__ = ["AlchemyEncoder"]
