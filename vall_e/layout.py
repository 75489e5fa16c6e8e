"""Every file name on disk, and which command writes it.

WORK/metadata/    recordings.jsonl    import: one row per recording
                  transcripts.jsonl   transcribe: one row per recording
                  speakers.jsonl      transcribe --link-speakers: which speaker each voice is
                  rejects.jsonl       import and transcribe: what did not become a row, and why
                  metadata.json       import and transcribe: what the rows were made with
WORK/dataset/     utterances.jsonl    process: one row per utterance
                  <utterance id>.npy  process: its codes, uint16 [K,T]
                  done.jsonl          process: one row per finished recording, written after its utterances
                  similar.jsonl       similar: one row per utterance
                  similar_groups.jsonl, similar.json    similar: which groups are finished, what they were made with
                  durations.jsonl     durations: how many frames each phone of an utterance takes
                  durations.json, durations.npz    durations: the model of the phones that was learnt
                  rejects.jsonl       process
                  scores.jsonl        audit: scores that need the whole corpus
                  gates.yaml          audit --apply: limits of scores, for build
                  dataset.json        process: what the rows were made with
                  built/              build: see vall_e.dataset.files
                  mixtures/           mix: mixtures.jsonl, mixtures.json, and codes of utterances with noise and voices
WORK/audit/       index.html and the worst utterances of each score as audio
Both              deaths.jsonl        which recordings killed a worker, until they are finished or rejected
                  .lock, .tmp/        held and emptied by whoever writes
"""

from __future__ import annotations

from pathlib import PurePosixPath

# sections of a config file: one per stage of the chain, and one for each tool beside it
CONFIG_SECTIONS = (
    *("import", "transcribe", "process", "similar", "durations", "build", "train"),
    *("g2p", "qnt", "report", "verify", "synthesize", "evaluate", "mix"),
)
SKIPPED_BY_FALSE = ("durations",)  # stages that `durations: false` in a config leaves out of the chain

METADATA_FOLDER, DATASET_FOLDER, BUILT_FOLDER = "metadata", "dataset", "built"
MIXTURES_FOLDER = "mixtures"  # in the dataset's, where a person asks for it there

RECORDINGS = "recordings.jsonl"
TRANSCRIPTS = "transcripts.jsonl"
METADATA_JSON = "metadata.json"

UTTERANCES = "utterances.jsonl"
STALE_UTTERANCES = "utterances.old.jsonl"  # rows whose arrays are being removed
DONE = "done.jsonl"
DATASET_JSON = "dataset.json"
SIMILAR, SIMILAR_JSON, SIMILAR_GROUPS = "similar.jsonl", "similar.json", "similar_groups.jsonl"
DURATIONS, DURATIONS_JSON, DURATIONS_MODEL = "durations.jsonl", "durations.json", "durations.npz"
MIXTURES, MIXTURES_JSON = "mixtures.jsonl", "mixtures.json"
SCORES = "scores.jsonl"
GATES_YAML = "gates.yaml"  # limits that `audit --apply` chose for the next build
AUDIT_FOLDER = "audit"

REJECTS, NOTES, DEATHS = "rejects.jsonl", "notes.jsonl", "deaths.jsonl"
SPEAKERS = "speakers.jsonl"  # which speaker a voice of a recording is, where voices were linked
LANGUAGES = "languages.jsonl"  # what the texts of a speaker are in, where the corpus does not say

LOCK, TEMP_FOLDER = ".lock", ".tmp"
BUILD_SIDE_FOLDER = ".built"  # beside a build while it is written

# what a dataset folder holds besides arrays: a group of recordings with such a name would collide with it
RESERVED_NAMES = frozenset({TEMP_FOLDER, LOCK, BUILT_FOLDER, BUILD_SIDE_FOLDER, MIXTURES_FOLDER})
RESERVED_SUFFIXES = (".json", ".jsonl", ".npy", ".npz")

MAX_ID_PART_BYTES = 255 - len("-00000.npy")  # of one path component, on the file systems in common use

# which command makes a file, for the error about a missing one
MADE_BY = {
    RECORDINGS: "vall-e import",
    TRANSCRIPTS: "python -m vall_e.emb.transcribe",
    UTTERANCES: "python -m vall_e.emb.process",
    DATASET_JSON: "python -m vall_e.emb.process",
    SIMILAR: "python -m vall_e.emb.similar",
    DURATIONS: "python -m vall_e.emb.durations",
}


def is_reserved(recording_id: str) -> bool:
    """Whether this recording's arrays would collide with what else a dataset folder holds, other arrays included."""
    folders = PurePosixPath(recording_id).parts[:-1]
    taken = folders[:1] and (folders[0] in RESERVED_NAMES or folders[0].endswith(RESERVED_SUFFIXES))
    return bool(taken) or any(folder.endswith(".npy") for folder in folders)
