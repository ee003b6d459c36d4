"""The application: it joins domain and adapters to programs."""
