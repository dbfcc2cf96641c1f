"""From a failed check to its likely cause."""

from porter.diagnosis.diagnose import diagnose as diagnose
