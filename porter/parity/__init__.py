"""Recordings compared stage by stage, and the measurements that stand on record."""
