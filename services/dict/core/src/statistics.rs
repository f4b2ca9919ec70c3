//! Windows of the anti-fraud counters (DICT API, tag Antifraud).
