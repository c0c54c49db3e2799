"""Event-sourced inventory."""
