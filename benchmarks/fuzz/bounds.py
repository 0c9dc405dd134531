"""What one case may take: seconds, and memory beyond what the program itself takes."""

SECONDS = 20
MEMORY = 512 << 20
