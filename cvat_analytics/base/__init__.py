"""What every room stands on: errors, files, time, where the project's own files are. Imports nothing of ours."""
