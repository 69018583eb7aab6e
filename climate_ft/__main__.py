"`python -m climate_ft` is the command"
from .cli import main

if __name__ == "__main__": main()
