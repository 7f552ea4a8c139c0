-- How many objects, and images with them, does each class have in each split, and what share of the
-- split's objects is it?
SELECT o.split, o.class_name, COUNT(*) AS objects, COUNT(DISTINCT o.image_id) AS images,
       COUNT(*) * 1.0 / MIN(t.total) AS share
FROM objects AS o
JOIN (SELECT split, COUNT(*) AS total FROM objects GROUP BY split) AS t ON o.split = t.split
GROUP BY o.split, o.class_name
ORDER BY o.split, objects DESC, o.class_name;
