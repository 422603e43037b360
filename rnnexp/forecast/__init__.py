"""What a study will cost: time, memory and disk, estimated before it starts."""
