"""The supervisor of a study: it fills slots, reports, prunes and retries; the failure policy and retention rules."""
