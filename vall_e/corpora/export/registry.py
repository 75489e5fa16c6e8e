"""The layouts that utterances can be exported to, by name."""

from __future__ import annotations

from vall_e.registry import Registry

EXPORTERS = Registry(
    "export",
    "vall_e.exporters",
    {
        "kaldi": "vall_e.corpora.export.kaldi:load",
        "lhotse": "vall_e.corpora.export.lhotse:load",
        "huggingface": "vall_e.corpora.export.huggingface:load",
        "webdataset": "vall_e.corpora.export.webdataset:load",
    },
)
