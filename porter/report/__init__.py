"""Formatting of parity reports: `text`, `junit` and `html`; JSON is `ParityReport.to_json`."""
