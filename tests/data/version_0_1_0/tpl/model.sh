echo "depth {{ model.depth }}"
printf 'x,y\n1,{{ model.depth }}\n' > out.csv
if [ "{{ model.depth }}" = 13 ]; then echo "Fatal: no water"; exit 3; fi
